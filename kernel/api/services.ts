/** What the routes work with, handed to each of them. */
import type { Chats } from '../chats/index.ts';
import type { RetentionPeriods } from '../config/index.ts';
import type { Engine, ReplayOptions, ReplayReport, WorkflowRegistry } from '../engine/index.ts';
import type { OAuth } from '../oauth/index.ts';
import type { SignIn } from '../oidc/index.ts';
import type { Store, StoreLogEntry } from '../store/index.ts';
import type { Threads } from '../threads/index.ts';
import type { Tools } from '../tools/index.ts';
import type { Source, Users } from '../users/index.ts';
import type { Installation } from '../vault/index.ts';
import type { Webhooks } from '../webhooks/index.ts';
import { ApiError } from './errors.ts';
import type { Bots } from './bots.ts';
import type { ApiKeys } from './keys.ts';
import type { Metrics } from './metrics.ts';

export type Log = (entry: StoreLogEntry) => void;

/** What is wrong with a workflow file, as a host reports it. */
export interface FileProblem {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
  readonly message: string;
}

/** What the routes of vault, policy and audit need besides: the keys of the installation, and where its firewall answers. */
export interface Trust {
  readonly installation: Installation;
  /** How long what is kept; without it, nothing is pruned by request. */
  readonly retention?: RetentionPeriods;
  /** `caFile`: where callers on this machine find the certificate of its authority. */
  readonly firewall?: {
    readonly proxyUrl: string;
    readonly caFile?: string;
    /** Host and port at which it speaks the protocol of Postgres. */
    readonly postgres?: string;
  };
}

/** Calls the code of a run again where it can harm nobody. */
export interface Replays {
  replay(
    run: { readonly runId: string; readonly workflow: string; readonly version: string | null },
    options: ReplayOptions,
  ): Promise<ReplayReport>;
}

export interface Services {
  readonly engine: Engine;
  readonly registry: WorkflowRegistry;
  readonly store: Store;
  readonly keys: ApiKeys;
  readonly metrics: Metrics;
  readonly version: string;
  readonly log: Log;
  readonly trust: Trust | undefined;
  readonly threads: Threads | undefined;
  readonly webhooks: Webhooks | undefined;
  readonly tools: Tools | undefined;
  readonly accounts: OAuth | undefined;
  readonly users: Users | undefined;
  readonly chats: Chats | undefined;
  readonly bots: Bots;
  /** By a provider; undefined: with a password only. */
  readonly signIn: SignIn | undefined;
  /** Where people's browsers reach the API. */
  publicUrl(): string;
  sourceOf(request: Request, peer: string | undefined): Source;
  readonly replays: Replays | undefined;
  /** How long runs are kept that have ended. */
  readonly retentionDays: number;
  problems(): readonly FileProblem[];
  isDraining(): boolean;
  /** Aborts when the server closes: streams end then. */
  readonly closing: AbortSignal;
  openapi(): object;
}

/** @throws ApiError VAULT_UNAVAILABLE in a process that was started without the master key */
export function installationOf({ trust }: Services): Installation {
  if (trust === undefined)
    throw new ApiError('VAULT_UNAVAILABLE', 'this process has no master key, so it answers for no secrets, policy or audit log');
  return trust.installation;
}

/** @throws ApiError THREADS_UNAVAILABLE in a process that was started without them */
/** Aborts when whoever asked has gone, or the server closes: then nothing is taken for them any more. */
export function leaving(request: Request, { closing }: Services): AbortSignal {
  return AbortSignal.any([request.signal, closing]);
}

export function threadsOf({ threads }: Services): Threads {
  if (threads === undefined) throw new ApiError('THREADS_UNAVAILABLE', 'this process serves no threads');
  return threads;
}

/** @throws ApiError TOOLS_UNAVAILABLE in a process that was started without them */
export function toolsOf({ tools }: Services): Tools {
  if (tools === undefined) throw new ApiError('TOOLS_UNAVAILABLE', 'this process serves no tools');
  return tools;
}

/** @throws ApiError ACCOUNTS_UNAVAILABLE in a process that was started without the master key */
export function accountsOf({ accounts }: Services): OAuth {
  if (accounts === undefined) throw new ApiError('ACCOUNTS_UNAVAILABLE', 'this process has no master key, so it connects no accounts');
  return accounts;
}

/** @throws ApiError WEBHOOKS_UNAVAILABLE in a process that was started without them */
export function webhooksOf({ webhooks }: Services): Webhooks {
  if (webhooks === undefined) throw new ApiError('WEBHOOKS_UNAVAILABLE', 'this process serves no webhooks');
  return webhooks;
}

/** @throws ApiError USERS_UNAVAILABLE in a process that was started without the master key */
export function usersOf({ users }: Services): Users {
  if (users === undefined) throw new ApiError('USERS_UNAVAILABLE', 'this process has no master key, so it knows no users');
  return users;
}

/** @throws ApiError CHATS_UNAVAILABLE in a process that was started without the master key */
export function chatsOf({ chats }: Services): Chats {
  if (chats === undefined) throw new ApiError('CHATS_UNAVAILABLE', 'this process has no master key, so it knows nobody in a chat');
  return chats;
}
