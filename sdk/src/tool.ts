import type { StandardJSONSchemaV1, StandardSchemaV1 } from '@standard-schema/spec';
import type { Duration } from './duration.ts';

/**
 * What a call may do, for the policy: `read` changes nothing; `write` can be undone; `destructive` cannot; `financial` moves
 * money; `customer_facing` is seen outside of the team.
 */
export type ToolRisk = 'read' | 'write' | 'destructive' | 'financial' | 'customer_facing';

/** Where a secret of a tool goes. What the vault has under its name may be bound to less, and never goes further. */
export interface ToolSecret {
  /** In capitals, as in the vault. */
  readonly name: string;
  /** `host`, `host:port` or `*.host`. Not for `pg_dsn`. */
  readonly hosts?: readonly string[];
  readonly methods?: readonly string[];
  readonly paths?: readonly string[];
  /** Names of headers in which it counts, and so on. Default: any header. */
  readonly match_headers?: readonly string[];
  readonly match_query?: readonly string[];
  readonly match_path?: boolean;
  readonly match_body?: boolean;
  /** Default `http`: the value itself is sent. The others are those of the vault. */
  readonly type?: 'http' | 'oauth_token' | 'gcp_auth' | 'brokered_token' | 'pg_dsn' | 'aws_sigv4' | 'hmac';
  /** The tool is served without it, too. Default false. */
  readonly optional?: boolean;
  /** For people: where to get one. */
  readonly description?: string;
}

/** A host that a tool calls without a secret. */
export type ToolHost = string | { readonly host: string; readonly methods?: readonly string[]; readonly paths?: readonly string[] };

export interface ToolFile {
  readonly name: string;
  /** `image/png`, `text/csv`. */
  readonly mimeType: string;
  readonly data: Uint8Array;
}

/** What a method gets beside its arguments. */
export interface ToolContext {
  readonly callId: string;
  /** The same for every repeat of one call: for the idempotency key of a service that takes one. */
  readonly idempotencyKey: string;
  /** The conversation that the call belongs to, if any. */
  readonly threadKey: string | undefined;
  /** The workflow run that the call belongs to, if any. */
  readonly runId: string | undefined;
  readonly traceId: string | undefined;
  /**
   * Who calls, for a tool that keeps something between calls: the same for all calls of one conversation, of one run, or of one key that
   * belongs to neither, and another for everybody else. It says nothing about them, and is no secret.
   */
  readonly caller: string;
  /** Aborts when the caller has gone, or time is up. */
  readonly signal: AbortSignal;
  log(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** For people who wait. `total` in the same unit as `done`. */
  progress(message: string, done?: number, total?: number): void;
  /** A file beside the result: kept with the thread. Answers what the result may refer to. */
  attach(
    file: ToolFile,
  ): Promise<{ readonly attachment_id: string; readonly name: string; readonly mime_type: string; readonly size: number }>;
}

/** JSON Schema of an object; or any Standard Schema that can tell one (zod, arktype, valibot with its own function for it). */
export type ToolInput = StandardSchemaV1 | (StandardSchemaV1 & StandardJSONSchemaV1) | Readonly<Record<string, unknown>>;

type ArgumentsOf<Input> = Input extends StandardSchemaV1 ? StandardSchemaV1.InferOutput<Input> : Readonly<Record<string, unknown>>;

export interface ToolMethod<Input extends ToolInput = ToolInput, Result = unknown> {
  /** One or two sentences: agents choose by them. */
  readonly description: string;
  readonly risk: ToolRisk;
  /** Arguments, an object. Default: none. */
  readonly input?: Input;
  /** JSON Schema of the result, or a schema that can tell one. For readers; results are not checked. */
  readonly output?: ToolInput;
  /** A second call with the same idempotency key does not do it twice. Default: whether it only reads. */
  readonly idempotent?: boolean;
  /** Default: that of the tool. */
  readonly timeout?: Duration;
  run(input: ArgumentsOf<Input>, ctx: ToolContext): Promise<Result> | Result;
}

export interface ToolDefinition {
  /** Lower case letters, digits, `_`, `-`; 64 at most. Default: the name of its folder. */
  readonly name?: string;
  readonly description: string;
  readonly secrets?: readonly ToolSecret[];
  readonly hosts?: readonly ToolHost[];
  /** Longest time of a call. Default two minutes. */
  readonly timeout?: Duration;
  /** Most calls at a time. Default 16. */
  readonly concurrency?: number;
  /** What its process needs with all that it starts, if that is more than tools get. The operator says how much they may have at most. */
  readonly memory_mb?: number;
  /** The same of processes, with their threads. */
  readonly processes?: number;
  // each has arguments of its own, which no common type can say
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly methods: Readonly<Record<string, ToolMethod<any>>>;
}

const mark = Symbol.for('@centaur/sdk:tool');

/** Declares a tool; use it as the default export of `tool.ts` in the tool's folder. */
export function defineTool<const Definition extends ToolDefinition>(definition: Definition): Definition {
  return { ...definition, [mark]: true };
}

/** One method, with the types of its arguments from its schema. */
export function method<Input extends ToolInput, Result>(definition: ToolMethod<Input, Result>): ToolMethod<Input, Result> {
  return definition;
}

export function isToolDefinition(value: unknown): value is ToolDefinition {
  return typeof value === 'object' && value !== null && mark in value;
}

/**
 * What stands for a secret in a tool's process: a placeholder, which the firewall exchanges on the way to the secret's hosts. Good for
 * nothing anywhere else, in development as in production.
 *
 * @throws Error naming the secret when the tool has not declared it, or nobody has put it into the vault
 */
export function secret(name: string): string {
  const value = process.env[name];
  if (value !== undefined && value !== '') return value;
  // a tool that is asked what it declares, and looks for a key when it is loaded
  if (process.env['CENTAUR_ASKING'] !== undefined) return 'not-while-it-is-asked';
  throw new Error(
    `there is no ${name} here: declare it in the tool's secrets, and put it into the vault with: centaur secrets set ${name} --for <tool>`,
  );
}

/** What a method throws so that its caller knows what to do. Any other error is one too, and may be tried again. */
export class ToolFailure extends Error {
  /** In capitals: `NOT_FOUND`. */
  readonly code: string;
  readonly retryable: boolean;
  constructor(code: string, message: string, options: ErrorOptions & { readonly retryable?: boolean } = {}) {
    super(message, options);
    this.name = 'ToolFailure';
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}
