/**
 * Where a thread's turns are run: its sandbox, and the harness process in it that stays from turn to turn. One that is
 * there is used again; else a fresh one goes on from the session that was stored after the last turn.
 */
import { createHash, randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { makeThreadToken } from '@centaur/kernel/api';
import type { Installation } from '@centaur/kernel/vault';
import type { Threads } from '@centaur/kernel/threads';
import { type Harness, type HarnessKind, harnesses, type LaunchOptions, readDemoProgram, type TurnInput } from '../harness/index.ts';
import type { Sandbox, SandboxBackend, SandboxLimits, SandboxProcess, SandboxSpec } from '../sandbox/types.ts';
import { SandboxError } from '../sandbox/errors.ts';
import { placeSkills, skillFolders, versionOfAll, withoutGrants } from '../skills/index.ts';
import { toolFiles } from '../tools-in-sandbox/index.ts';
import { closeAccess, keepAccess, openAccess } from './access.ts';
import { type Conversation, createConversation } from './conversation.ts';
import { type AgentResources, assemblePrompt, type AvailableTool } from './prompt.ts';
import type { HarnessSetting } from './settings.ts';

type Turn = Awaited<ReturnType<Threads['turns']['begin']>>;
type Owner = Parameters<Threads['turns']['begin']>[0];

/** What all sandboxes of an installation have in common, so that some can be made ahead. */
export interface ShapeOptions {
  readonly limits: SandboxLimits;
  /** Host and port of the firewall and of the API, as this machine reaches them. */
  readonly firewall: string;
  readonly api?: string;
  /** A folder with the CLIs, as npm installs them. */
  readonly harnessDir?: string;
}

export interface PlaceOptions extends ShapeOptions, AgentResources {
  readonly installation: Installation;
  readonly threads: Threads;
  readonly sandboxes: SandboxBackend;
  readonly settings: Readonly<Record<HarnessKind, HarnessSetting>>;
}

export interface Place {
  readonly harness: Harness;
  readonly sandbox: Sandbox;
  readonly conversation: Conversation;
  /** How much of its journal was stored as events before. */
  readonly stored: number;
}

/** What is not used again: nothing, the process because it ended, or the sandbox because it is lost. */
export type Renewal = 'no' | 'process' | 'sandbox';

export interface Places {
  /**
   * @throws SandboxError SANDBOX_LOST when the turn may be at work somewhere that is not there any more; VaultError
   */
  open(turn: Turn, owner: Owner, renew: Renewal, signal: AbortSignal): Promise<Place>;
  /** After a turn that ended well: the next one goes on where its reading stopped. */
  keep(threadKey: string, place: Place): void;
  /** @throws SandboxError SANDBOX_UNREACHABLE when nobody knows */
  isReady(sandboxId: string): Promise<boolean>;
  /** Also when it is dead: then its journals can be read to their end. @throws as above */
  isKnown(sandboxId: string): Promise<boolean>;
  /** Ends a thread's sandbox and what it may use. */
  close(threadKey: string, sandboxId: string, source: string | null, reason: string): Promise<void>;
}

/** Ports of the relays, inside. */
const FIREWALL_PORT = 3128;
const API_PORT = 3129;
/** By a name of its own: not every program takes a port into account when it looks what is not for the proxy. */
const API_HOST = 'relay.internal';
const API_URL = `http://${API_HOST}:${API_PORT}`;
const HARNESS_FOLDER = '/opt/harness';
const SEARCH_PATH = [
  '/opt/centaur/bin',
  `${HARNESS_FOLDER}/node_modules/.bin`,
  `${HARNESS_FOLDER}/bin`,
  '/usr/local/bin',
  '/usr/bin',
  '/bin',
].join(':');
/** As long as a sandbox may live. */
const TOKEN_MS = 24 * 3_600_000;
const COMMANDS_MS = 30_000;
/** Threads whose conversation is remembered; any other is read anew. */
const KEPT_MOST = 1000;

/** Stripped of its types once. */
let demoProgram: string | undefined;

export function createPlaces(options: PlaceOptions): Places {
  const { installation, threads, sandboxes, settings } = options;
  // whoever cannot reach the API cannot call any
  const resources: AgentResources = options.api === undefined ? { ...options, tools: async () => [] } : options;
  /** What this process has read of the journals, by thread, between turns. */
  const conversations = new Map<string, Conversation>();

  async function open(turn: Turn, owner: Owner, renew: Renewal, signal: AbortSignal): Promise<Place> {
    const kept = conversations.get(turn.threadKey);
    conversations.delete(turn.threadKey);
    const kind = turn.harness as HarnessKind;
    const harness: Harness = harnesses[kind];
    const setting = settings[kind];
    const model = turn.model ?? turn.persona?.model ?? setting.model;
    const effort = (turn.effort ?? turn.persona?.effort ?? null) as TurnInput['effort'] | null;
    // with an account of their own some can call what others cannot
    const user = await threads.userOfTurn(turn.threadKey);
    const { text: persona, tools, skills: chosen } = await assemblePrompt(turn, resources, user);
    // where a harness asks, a skill does not say that it need not
    const skills = setting.approvals === 'ask' ? chosen.map(withoutGrants) : chosen;
    // what a process is told when it starts: with something else it is another process
    const shape = createHash('sha256')
      .update(
        JSON.stringify([kind, model, effort, persona, setting, tools.map(({ name, version }) => [name, version]), versionOfAll(skills)]),
      )
      .digest('hex')
      .slice(0, 12);
    // before anything is ended or begun: whoever lost the turn stops here
    await record(turn.sandbox);
    const snapshot = await threads.turns.readSnapshot(turn.threadKey);
    const resumable = snapshot?.harness === kind ? snapshot : undefined;
    const before = renew === 'sandbox' ? undefined : await find(turn);
    if (renew === 'no') {
      const { process } = before ?? {};
      // its harness may have it already: then it is only heard, whatever has changed around it
      const underWay = turn.begunBefore && (await threads.turns.hasEvent(owner, 'turn.started'));
      if (underWay && process === undefined)
        throw new SandboxError('SANDBOX_LOST', 'the sandbox is gone, and with it what the turn had come to');
      const fits = process?.id.startsWith(`${shape}-`) === true;
      if (before !== undefined && process !== undefined && (underWay || (fits && (await stays(before.sandbox))))) {
        const { sandbox } = before;
        const resumed = process.id.split('-')[1]?.startsWith('r') === true ? resumable?.agentThreadId : undefined;
        const conversation = kept?.process.id === process.id ? kept : begin(process, sandbox, resumed);
        return { harness, sandbox, conversation, stored: turn.sandbox.logOffset };
      }
    }
    signal.throwIfAborted();
    try {
      return await start(before);
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      // the agent has put something in the way of what belongs there; too much to put there is not its doing
      if (before !== undefined && error.code === 'SANDBOX_FILE') return start(undefined);
      if (error.code !== 'SANDBOX_LOST') throw error;
      // nothing was given to it: so it may be tried again
      const again = new SandboxError('SANDBOX_START_FAILED', error.message, { cause: error });
      if (before === undefined || (await isReady(before.sandbox.id))) throw again;
      return start(undefined);
    }

    /** Whether the process has all that it needs for this turn, which is the turn's from now on. */
    async function stays(sandbox: Sandbox): Promise<boolean> {
      const { runId } = owner;
      const { traceId, asker } = turn;
      const found = await Promise.all([
        hasHome(sandbox),
        keepAccess(installation, turn.threadKey, sandbox.source, { runId, traceId, asker }),
      ]);
      return found.every(Boolean);
    }

    async function start(there: Found | undefined): Promise<Place> {
      await there?.process?.signal('SIGKILL').catch(() => {});
      if (there === undefined && turn.sandbox.sandboxId !== null && turn.sandbox.host === hostname()) {
        // whoever lost the turn in the meantime stops nothing of its next owner's
        await record(turn.sandbox);
        await sandboxes.stop(parse(turn.sandbox.sandboxId).sandbox);
      }
      const sandbox = there?.sandbox ?? (await sandboxes.ensure(specFor(turn.threadKey)));
      try {
        return await startIn(sandbox, there !== undefined);
      } catch (error) {
        // nobody knows it yet
        if (there === undefined) await sandboxes.stop(sandbox.id).catch(() => {});
        throw error;
      }
    }

    async function startIn(sandbox: Sandbox, isUsed: boolean): Promise<Place> {
      // what another worker has leased for the thread is not taken away by one that lost it
      await record(turn.sandbox);
      const access = await openAccess(
        { installation, relayPort: FIREWALL_PORT },
        { threadKey: turn.threadKey, traceId: turn.traceId, runId: owner.runId, source: sandbox.source, asker: turn.asker },
        setting.secret,
      );
      const resume = resumable?.agentThreadId;
      if (resumable !== undefined && !(isUsed && (await hasHome(sandbox)))) await sandbox.unpack(resumable.data);
      const caFile = caFileOf(sandbox);
      await sandbox.writeFile(caFile, access.caPem);
      const program = `${sandbox.home}/.centaur/demo.mjs`;
      if (kind === 'demo') await sandbox.writeFile(program, (demoProgram ??= readDemoProgram()));
      const inside = toolFiles(`${sandbox.home}/.centaur`);
      const api = apiSettings(turn.threadKey, sandbox.id);
      const launch: LaunchOptions = {
        program,
        home: sandbox.home,
        cwd: sandbox.workspace,
        approvals: setting.approvals ?? 'none',
        upstream: {
          placeholder: access.placeholders[setting.secret] as string,
          ...(setting.baseUrl === undefined ? {} : { baseUrl: setting.baseUrl }),
          ...(setting.api === undefined ? {} : { api: setting.api }),
        },
        proxy: { url: access.proxyUrl, caFile },
        ...(model === undefined ? {} : { model }),
        ...(effort === null ? {} : { effort }),
        ...(persona === undefined ? {} : { persona }),
        ...(resume === undefined ? {} : { resume }),
        ...(tools.length === 0
          ? {}
          : {
              tools: {
                url: `${API_URL}/mcp`,
                tokenVariable: 'CENTAUR_API_KEY',
                program: inside.program,
                extension: inside.extension,
              },
            }),
      };
      const spec = harness.launch.spec(launch);
      if (tools.length > 0) await putTools(sandbox, inside, tools);
      // one that was used before may have some that are gone
      if (skills.length > 0 || isUsed) await placeSkills(sandbox, skills, skillFolders(sandbox, harness.launch.skills.folder));
      for (const file of spec.files) await sandbox.writeFile(`${sandbox.home}/${file.path}`, file.content, { mode: file.mode });
      signal.throwIfAborted();
      const id = `${shape}-${resume === undefined ? 'n' : 'r'}${randomBytes(4).toString('hex')}`;
      // before it runs: whoever takes over finds it, or finds that there is none
      await record({ state: 'running', sandboxId: `${sandbox.id}/${id}`, backend: sandboxes.kind, host: hostname(), logOffset: 0 });
      const process = await sandbox.start({
        id,
        argv: spec.argv,
        cwd: sandbox.workspace,
        env: {
          // a tool never takes the name of a program
          PATH: `${SEARCH_PATH}:${inside.bin}`,
          LANG: 'C.UTF-8',
          TMPDIR: '/tmp',
          NODE_USE_ENV_PROXY: '1',
          ...access.placeholders,
          ...spec.env,
          ...api,
        },
      });
      return { harness, sandbox, conversation: begin(process, sandbox, resume), stored: 0 };
    }

    function record({ state, sandboxId, backend, host, logOffset }: Omit<Turn['sandbox'], 'agentThreadId'>): Promise<void> {
      return threads.turns.recordSandbox(owner, { state, sandboxId, backend, host, logOffset });
    }

    function begin(process: SandboxProcess, sandbox: Sandbox, resume: string | undefined): Conversation {
      return createConversation(process, harness.createCodec(), {
        cwd: sandbox.workspace,
        approvals: setting.approvals ?? 'none',
        ...(model === undefined ? {} : { model }),
        ...(resume === undefined ? {} : { resume }),
      });
    }
  }

  async function isReady(sandboxId: string): Promise<boolean> {
    return (await sandboxes.list()).some(({ id, state }) => id === sandboxId && state === 'ready');
  }

  async function find(turn: Turn): Promise<Found | undefined> {
    const { sandboxId, host, backend } = turn.sandbox;
    if (sandboxId === null || host !== hostname() || backend !== sandboxes.kind) return undefined;
    const ids = parse(sandboxId);
    const sandbox = await sandboxes.open(ids.sandbox);
    return sandbox === undefined ? undefined : { sandbox, process: await sandbox.process(ids.process) };
  }

  /** How whoever runs in the sandbox reads its own thread. */
  function apiSettings(threadKey: string, sandboxId: string): Record<string, string> {
    if (options.api === undefined) return {};
    const token = makeThreadToken(installation.macKey, { threadKey, sandboxId, expiresAt: Date.now() + TOKEN_MS });
    // not through the firewall, which is for what is outside
    return { CENTAUR_API_URL: API_URL, CENTAUR_API_KEY: token, NO_PROXY: API_HOST, no_proxy: API_HOST };
  }

  function specFor(threadKey: string): SandboxSpec {
    const name = createHash('sha256').update(threadKey).digest('hex').slice(0, 20);
    return { id: `t-${name}-${randomBytes(4).toString('hex')}`, labels: { thread_key: threadKey }, ...sandboxShape(options) };
  }

  return {
    open,
    keep(threadKey, { conversation }) {
      conversations.delete(threadKey);
      conversations.set(threadKey, conversation);
      for (const [oldest] of conversations) {
        if (conversations.size <= KEPT_MOST) break;
        conversations.delete(oldest);
      }
    },
    isReady,
    isKnown: async (sandboxId) => (await sandboxes.list()).some(({ id }) => id === sandboxId),
    async close(threadKey, sandboxId, source, reason) {
      conversations.delete(threadKey);
      await closeAccess(installation, threadKey, reason, source);
      await sandboxes.stop(parse(sandboxId).sandbox);
    },
  };
}

/** No way out leads past it, so it is put there first. */
const caFileOf = ({ home }: Sandbox) => `${home}/.centaur/ca.pem`;
const CA_LARGEST = 64 * 1024;

/** An agent can delete its home, and all that was put there for it. */
async function hasHome(sandbox: Sandbox): Promise<boolean> {
  try {
    await sandbox.readFile(caFileOf(sandbox), { maxBytes: CA_LARGEST });
    return true;
  } catch (error) {
    // whether the sandbox is there at all is found out by whoever talks to it
    return !(error instanceof SandboxError && (error.code === 'SANDBOX_FILE' || error.code === 'SANDBOX_LIMIT'));
  }
}

/** Programs of the sandbox may have the names of tools: it looks itself which are free. */
async function putTools(sandbox: Sandbox, inside: ReturnType<typeof toolFiles>, tools: readonly AvailableTool[]): Promise<void> {
  for (const { path, content } of inside.files) await sandbox.writeFile(path, content);
  const argv = inside.makeCommands(tools.map(({ name }) => name));
  const made = await sandbox.exec({ argv, env: { PATH: SEARCH_PATH }, timeoutMs: COMMANDS_MS, maxOutputBytes: 4096 });
  if (made.code !== 0)
    throw new SandboxError('SANDBOX_START_FAILED', `the commands of the tools could not be made: ${made.stderr.toString().trim()}`);
}

interface Found {
  readonly sandbox: Sandbox;
  /** It may have ended. */
  readonly process: SandboxProcess | undefined;
}

export function sandboxShape({ limits, firewall, api, harnessDir }: ShapeOptions): Pick<SandboxSpec, 'limits' | 'mounts' | 'relays'> {
  return {
    limits,
    mounts: harnessDir === undefined ? [] : [{ source: harnessDir, target: HARNESS_FOLDER }],
    relays: [{ port: FIREWALL_PORT, to: firewall }, ...(api === undefined ? [] : [{ port: API_PORT, to: api }])],
  };
}

/** A thread's sandbox and its process are kept as one id. */
export function parse(id: string): { readonly sandbox: string; readonly process: string } {
  const [sandbox = '', process = ''] = id.split('/');
  return { sandbox, process };
}
