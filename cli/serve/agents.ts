/** Threads and turns of a server: sandboxes on this machine, and the harnesses in them. */
import type { AgentSettings, Config, PriceSetting } from '@centaur/kernel/config';
import type { Engine, WorkflowRegistry } from '@centaur/kernel/engine';
import type { Store } from '@centaur/kernel/store';
import { createThreads, type Threads } from '@centaur/kernel/threads';
import type { Installation } from '@centaur/kernel/vault';
import { type HarnessKind, harnesses } from '@centaur/runtime/harness';
import type { SandboxBackend } from '@centaur/runtime/sandbox';
import type { SkillSource } from '@centaur/runtime/skills';
import {
  type AvailableTool,
  createTurns,
  DEFAULT_SETTINGS,
  describePrompt,
  type HarnessSetting,
  type ShapeOptions,
  standIn,
  TURN_WORKFLOW,
  withBuiltIn,
} from '@centaur/runtime/turns';
import type { Log } from '../log.ts';

export interface Agents {
  readonly registry: WorkflowRegistry;
  readonly startAgent: Threads['startAgent'];
  /** When the engine is there, which needs the two above. */
  open(parts: AgentParts): Promise<Threads>;
  /** Lets go of the turns that run here, before the engine is drained. */
  detach(): void;
  close(): Promise<void>;
}

export interface AgentParts {
  readonly store: Store;
  readonly engine: Engine;
  readonly settings: AgentSettings;
  readonly prices: readonly PriceSetting[];
  /** What agents may call, as things are now; nothing where the API cannot be reached from sandboxes. */
  tools(user: string | undefined): Promise<readonly AvailableTool[]>;
  readonly skills: SkillSource;
  readonly overrides: Partial<Record<HarnessKind, Partial<HarnessSetting>>>;
  /** What turns need besides; undefined in a process that only answers requests. */
  readonly worker:
    | {
        readonly installation: Installation;
        readonly sandboxes: SandboxBackend;
        readonly shape: ShapeOptions;
      }
    | undefined;
}

const MINUTE_MS = 60_000;

/** @param registry of the workflow files */
export function prepareAgents(config: Config, registry: WorkflowRegistry, log: Log): Agents {
  let workflow = standIn();
  let threads: Threads | undefined;
  const closing: (() => Promise<void>)[] = [];
  let detach = () => {};

  return {
    registry: withBuiltIn(registry, () => [workflow]),
    startAgent(request) {
      if (threads === undefined) throw new Error('the threads of this process are not open yet');
      return threads.startAgent(request);
    },
    async open({ store, engine, settings, prices, tools, skills, overrides, worker }) {
      const perHarness = settingsOf(settings, overrides);
      threads = await createThreads({
        store,
        catalogue: {
          harnesses: Object.keys(harnesses),
          defaultHarness: settings.default_harness ?? (config.demo ? 'demo' : 'claude'),
          persona: (id) => {
            const persona = skills.personas().find(({ name }) => name === id);
            return persona === undefined ? undefined : { ...persona, harness: persona.harness ?? null };
          },
          personas: () => skills.personas().map(({ name }) => name),
          describePrompt: (assigned, user) => describePrompt(assigned, { tools, skills }, perHarness, user),
        },
        async startTurn({ threadKey, executionId, traceId }) {
          const run = await engine.start({
            workflow_name: TURN_WORKFLOW,
            input: { thread_key: threadKey, execution_id: executionId },
            trigger_key: executionId,
            trace_id: traceId.replaceAll('-', ''),
          });
          return run.run_id;
        },
        workerId: () => engine.stats().worker_id,
        accounts: { prices, modelOf: (harness) => perHarness[harness as HarnessKind]?.model },
        log,
      });
      const opened = threads;
      closing.push(() => opened.close());
      if (worker !== undefined) {
        const turns = createTurns({
          ...worker.shape,
          installation: worker.installation,
          threads,
          sandboxes: worker.sandboxes,
          settings: perHarness,
          tools,
          skills,
          ...(settings.concurrency === undefined ? {} : { concurrency: settings.concurrency }),
          ...(settings.idle_minutes === undefined ? {} : { idleMs: settings.idle_minutes * MINUTE_MS }),
          deadlines: {
            ...(settings.silence_minutes === undefined ? {} : { silenceMs: settings.silence_minutes * MINUTE_MS }),
            ...(settings.turn_hours === undefined ? {} : { hardMs: settings.turn_hours * 60 * MINUTE_MS }),
          },
          log,
        });
        workflow = turns.workflow;
        detach = () => turns.detach();
        closing.unshift(() => turns.close());
      }
      return threads;
    },
    detach: () => detach(),
    async close() {
      for (const close of closing) await close();
    },
  };
}

/** The file's word counts more than what the demo brings, and that more than the defaults. */
function settingsOf(
  { harnesses: given }: AgentSettings,
  overrides: Partial<Record<HarnessKind, Partial<HarnessSetting>>>,
): Record<HarnessKind, HarnessSetting> {
  const kinds = Object.keys(harnesses) as HarnessKind[];
  return Object.fromEntries(
    kinds.map((kind) => {
      const { base_url: baseUrl, secret, model, api, approvals } = given?.[kind] ?? {};
      return [
        kind,
        {
          ...DEFAULT_SETTINGS[kind],
          ...overrides[kind],
          ...(secret === undefined ? {} : { secret }),
          ...(baseUrl === undefined ? {} : { baseUrl: baseUrl.replace(/\/$/, '') }),
          ...(model === undefined ? {} : { model }),
          ...(api === undefined ? {} : { api }),
          ...(approvals === undefined ? {} : { approvals }),
        },
      ];
    }),
  ) as Record<HarnessKind, HarnessSetting>;
}
