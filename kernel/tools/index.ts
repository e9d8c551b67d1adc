/**
 * Tools: what agents, workflows and people may have done in other systems, by code that is not trusted.
 *
 * It promises that a call is checked against what its method declares, decided on by the policy and committed to the audit log before
 * any code of the tool hears of it; that a call under an idempotency key is made once, or is refused where nobody knows whether it was;
 * that what is declared is checked field by field before it is believed; and that grants follow the declarations and never touch what a
 * person gave. It never runs a tool's code and never sees a secret: a `ToolRunner` does the one, the firewall the other. Arguments and
 * results are in no entry of the audit log and in no line of the log.
 *
 * Read `types.ts` for the shapes, `manifest.ts` and `schema.ts` for what a declaration must be, `calls.ts` for the way of a call, which is
 * `prepare.ts`, `keyed.ts`, `decide.ts`, `intent.ts`, `dispatch.ts` and `settle.ts`, and `ledger.ts` for what is kept of calls under a key.
 */
import type { Store, StoreLogEntry } from '../store/index.ts';
import { findReconnect, type Installation, ownSecrets, pruneCallLeases } from '../vault/index.ts';
import { createCalls } from './calls.ts';
import { createDeclaredGrants, type MissingSecret, principalOf } from './declared-grants.ts';
import { ToolError } from './errors.ts';
import { createLedger, pruneCalls } from './ledger.ts';
import type { CallAnswer } from './outcome.ts';
import type { CallRequest } from './prepare.ts';
import type { AttachFile } from './results.ts';
import type { OwnSecrets, ServedTool, ToolCaller, ToolProblem, ToolRunner } from './types.ts';

export type { Waiting } from './approvals.ts';
export type { Edited } from './edited.ts';
export { TOOL_ERRORS, ToolError, type ToolErrorCode } from './errors.ts';
export { checkDeclaration, type CheckedDeclaration, type ManifestProblem } from './manifest.ts';
export { pruneCalls } from './ledger.ts';
export type { CallAnswer } from './outcome.ts';
export type { CallRequest } from './prepare.ts';
export type { AttachFile } from './results.ts';
export { checkSchema, schemaIssues } from './schema.ts';
export { sensitivePaths } from './sensitive.ts';
export * from './types.ts';

export interface ToolsOptions {
  readonly store: Store;
  readonly installation: Installation;
  /** After it has looked at the files: tools that are not there yet would lose their grants. */
  readonly runner: ToolRunner;
  /** Keeps files with a thread. Without it, large results are refused. */
  readonly attach?: AttachFile;
  /** How long calls are kept under their keys. Default 30. */
  readonly retentionDays?: number;
  readonly log?: (entry: StoreLogEntry) => void;
}

/** A tool, and whether it can be called. */
export interface ToolView {
  readonly tool: ServedTool;
  /** Names of required secrets that it cannot use. */
  readonly missingSecrets: readonly string[];
}

export interface Tools {
  /** By name, as they stand with what was given to them alone. */
  list(): readonly ToolView[];
  /** The same for somebody whose own accounts count besides. Undefined: nobody. */
  listFor(user: string | undefined): Promise<readonly ToolView[]>;
  getFor(user: string | undefined, name: string): Promise<ToolView | undefined>;
  get(name: string): ToolView | undefined;
  /** @throws ToolError, and what is wrong with the store */
  call(caller: ToolCaller, request: CallRequest): Promise<CallAnswer>;
  /** What is wrong with arguments for `tool.method`: where, and never a value. Undefined when there is no such method here. */
  check(method: string, args: unknown): readonly string[] | undefined;
  problems(): readonly ToolProblem[];
  /** Called after tools were added, changed or removed, or became ready. Returns how to stop. */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}

const UPKEEP_MS = 6 * 3_600_000;
/** What changes together is looked at once. */
const GATHER_MS = 50;

export async function createTools({
  store,
  installation,
  runner,
  attach,
  retentionDays = 30,
  log = () => {},
}: ToolsOptions): Promise<Tools> {
  const grants = createDeclaredGrants(installation, runner, log);
  const closing = new AbortController();
  const listeners = new Set<() => void>();
  const warn = (error: Error) => log({ level: 'warn', message: 'looking after the tools failed; trying again', error: error.message });
  let timer: NodeJS.Timeout | undefined;
  let takeBack = false;
  let closed = false;

  function changed(declarations: boolean): void {
    takeBack ||= declarations;
    timer ??= setTimeout(() => {
      timer = undefined;
      const all = takeBack;
      takeBack = false;
      const before = standing();
      const done = grants.reconcile(all).catch((error: Error) => {
        warn(error);
        // what was not taken back is taken back with the next change, or a little later
        if (!closed) setTimeout(() => changed(all), UPKEEP_MS / 1000).unref();
      });
      void done.then(() => {
        if (closed || (!all && standing() === before)) return;
        for (const listener of listeners) listener();
      });
    }, GATHER_MS);
    timer.unref();
  }

  /** Which secrets are missing: a text, to be compared. */
  function standing(): string {
    return runner
      .list()
      .flatMap((tool) => grants.missing(tool).map(({ name }) => `${tool.name} ${name}`))
      .join('\n');
  }

  const stopRunner = runner.onChange(() => changed(true));
  // whatever the API writes to the vault tells the firewalls, and us; what another process sees of files is its own business
  const unlisten = await store.listener.on('centaur_firewall', () => changed(false));
  // what changes from here on is heard of
  await grants.reconcile(true);
  const ledger = await createLedger(store, log);
  const prune = () => void Promise.all([pruneCalls(store, installation.audit, retentionDays), pruneCallLeases(store)]).catch(warn);
  prune();
  const upkeep = setInterval(prune, UPKEEP_MS);
  upkeep.unref();

  const view = (tool: ServedTool): ToolView => ({ tool, missingSecrets: grants.missing(tool).map(({ name }) => name) });
  const calls = createCalls({
    installation,
    runner,
    ledger,
    attach,
    log,
    closing: closing.signal,
    async ready(tool, user) {
      const own = await ownOf(tool, user);
      if (missingFor(tool, own).length === 0) return own;
      // set just now, maybe
      await grants.reconcile(false);
      const now = await ownOf(tool, user);
      const missing = missingFor(tool, now);
      if (missing.length > 0) throw await notReady(store, tool, missing, user);
      return now;
    },
  });

  async function ownOf(tool: ServedTool, user: string | undefined): Promise<OwnSecrets | undefined> {
    if (user === undefined || tool.secrets.length === 0) return undefined;
    const names = tool.secrets.map(({ name }) => name);
    const secrets = await ownSecrets(store, user, principalOf(tool), names);
    return secrets.size === 0 ? undefined : { user, secrets };
  }

  function missingFor(tool: ServedTool, own: OwnSecrets | undefined) {
    return grants.missing(tool).filter(({ name }) => own?.secrets.has(name) !== true);
  }

  /** One that lacks nothing is ready for everybody. */
  async function viewFor(user: string | undefined, tool: ServedTool): Promise<ToolView> {
    const shared = view(tool);
    if (shared.missingSecrets.length === 0) return shared;
    const own = await ownOf(tool, user);
    return { tool, missingSecrets: missingFor(tool, own).map(({ name }) => name) };
  }

  const list = () =>
    runner
      .list()
      .map(view)
      .toSorted((a, b) => (a.tool.name < b.tool.name ? -1 : 1));

  return {
    list,
    listFor: (user) => Promise.all(list().map(({ tool }) => viewFor(user, tool))),
    async getFor(user, name) {
      const tool = runner.get(name);
      return tool && viewFor(user, tool);
    },
    get(name) {
      const tool = runner.get(name);
      return tool && view(tool);
    },
    call: (caller, request) => calls.call(caller, request),
    check: (method, args) => calls.check(method, args),
    problems: () => runner.problems(),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      closed = true;
      closing.abort();
      clearTimeout(timer);
      clearInterval(upkeep);
      stopRunner();
      unlisten();
      listeners.clear();
      await ledger.close();
    },
  };
}

async function notReady(
  store: Store,
  { name }: ServedTool,
  missing: readonly MissingSecret[],
  user: string | undefined,
): Promise<ToolError> {
  const how = await Promise.all(
    missing.map(async (secret) => {
      if (secret.known) return `centaur grants add tool:${name} ${secret.name}`;
      // one that an app makes: set by hand, it would be in the way of the next account
      return (await findReconnect(store, secret.name, user)) ?? `centaur secrets set ${secret.name} --for ${name}`;
    }),
  );
  return new ToolError(
    'TOOL_NOT_READY',
    `${name} may not use ${missing.map((secret) => secret.name).join(', ')} yet; an operator can change that with: ${how.join('; ')}`,
    { details: { missing_secrets: missing.map((secret) => secret.name) }, retryable: true },
  );
}
