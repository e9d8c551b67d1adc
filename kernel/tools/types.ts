/** What a tool is, how it is called, and what the kernel asks of whoever runs its code. */
import type { TraceContext } from '../store/index.ts';

export const RISKS = ['read', 'write', 'destructive', 'financial', 'customer_facing'] as const;
export type Risk = (typeof RISKS)[number];

export type JsonSchema = Readonly<Record<string, unknown>>;

/** A declaration after it was checked: see `manifest.ts`. */
export interface ToolDeclaration {
  readonly name: string;
  readonly description: string;
  readonly language: 'node' | 'python';
  readonly methods: readonly MethodDeclaration[];
  readonly secrets: readonly SecretDeclaration[];
  /** Hosts without a secret. */
  readonly hosts: readonly Opening[];
  /** Most calls at a time. */
  readonly concurrency: number;
  /** What its process asks for, if it is more than tools get; the operator's settings say how much it gets. */
  readonly memoryMb: number | null;
  readonly processes: number | null;
}

export interface MethodDeclaration {
  readonly name: string;
  readonly description: string;
  readonly risk: Risk;
  /** Of an object. */
  readonly input: JsonSchema;
  readonly output: JsonSchema | null;
  /** Doing it again under the same key does no harm. */
  readonly idempotent: boolean;
  readonly timeoutMs: number;
}

/** In the words of the vault's binding. */
export interface SecretDeclaration {
  readonly name: string;
  readonly type: string;
  readonly optional: boolean;
  readonly description: string | null;
  readonly hosts: readonly string[];
  readonly methods: readonly string[];
  readonly paths: readonly string[];
  readonly match_headers: readonly string[];
  readonly match_query: readonly string[];
  readonly match_path: boolean;
  readonly match_body: boolean;
}

/** Empty `methods` or `paths`: all. */
export interface Opening {
  readonly host: string;
  readonly methods: readonly string[];
  readonly paths: readonly string[];
}

/** A tool that is in service. */
export interface ServedTool extends ToolDeclaration {
  /** Changes with its code. */
  readonly version: string;
  /** Folder of it, for people. */
  readonly source: string;
}

/** What is wrong with a tool's files. */
export interface ToolProblem {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
  readonly message: string;
}

/** On whose behalf a call is made. */
export interface ToolCaller {
  /** `thread:…`, `workflow:…`, `key:…`: whom the policy decides about. */
  readonly principal: string;
  readonly threadKey?: string | undefined;
  readonly runId?: string | undefined;
  readonly workflow?: string | undefined;
  /** Of the run, that makes the call. */
  readonly step?: string | undefined;
  /** Whose turn it is that calls, where that is one user's alone. Asked when it is needed: a turn ends, and others say something to it. */
  readonly user?: (() => Promise<string | undefined>) | undefined;
  /** In which that turn was asked for, where the bot there says so: `channel:slack:C1`. */
  readonly channel?: string | undefined;
  /** 32 hex digits. */
  readonly traceId?: string | undefined;
}

/** Secrets of a user's own, which take the place of those that the tool declares. */
export interface OwnSecrets {
  readonly user: string;
  /** Names by the names that are declared. */
  readonly secrets: ReadonlyMap<string, string>;
}

/** A call that has been decided on, recorded, and is to be made now. */
export interface Dispatch {
  /** UUID. */
  readonly callId: string;
  /** To which the requests of this call belong. */
  readonly trace: TraceContext | undefined;
  readonly tool: ServedTool;
  readonly method: MethodDeclaration;
  /** JSON that fits the method's schema. */
  readonly args: Readonly<Record<string, unknown>>;
  readonly idempotencyKey: string;
  readonly caller: ToolCaller;
  /** Undefined: the tool's own alone. What serves a call with them serves no other user. */
  readonly own?: OwnSecrets | undefined;
  readonly signal: AbortSignal;
  onProgress?(message: string, done: number | undefined, total: number | undefined): void;
  /** Stores a file beside the result. */
  attach(file: { readonly name: string; readonly mimeType: string; readonly data: Buffer }): Promise<AttachedFile>;
}

export interface AttachedFile {
  readonly attachment_id: string;
  readonly name: string;
  readonly mime_type: string;
  readonly size: number;
}

/**
 * What the tool's process answered. `started` false: its code has not seen the call, so that it may be made again. A code that
 * begins with `TOOL_` is the runner's, such as `TOOL_FAILED` for what a method threw without saying more, `TOOL_CRASHED`,
 * `TOOL_TIMEOUT` and `TOOL_CANCELLED`: nobody knows how far the method had come. Any other is the author's own word. `waitedMs` went by
 * before the process had the call: until there was room in it, or it had started.
 */
export type DispatchResult =
  | { readonly ok: true; readonly value: unknown; readonly waitedMs?: number | undefined }
  | {
      readonly ok: false;
      readonly code: string;
      readonly message: string;
      readonly retryable: boolean;
      readonly started: boolean;
      readonly waitedMs?: number | undefined;
    };

/** Whoever runs the code of tools: `runtime/tools`. */
export interface ToolRunner {
  list(): readonly ServedTool[];
  get(name: string): ServedTool | undefined;
  problems(): readonly ToolProblem[];
  /** Called after tools were added, changed or removed. Returns how to stop. */
  onChange(listener: () => void): () => void;
  /** Never throws for what the tool does wrong. */
  dispatch(call: Dispatch): Promise<DispatchResult>;
}
