/** All sandboxes of one state folder: who has which, who died of what, how many there may be. */
import fs from 'node:fs';
import { availableMemoryMb } from './watchdog.ts';
import { join } from 'node:path';
import { SandboxError } from '../errors.ts';
import type { SandboxCapabilities, SandboxSpec, SandboxView } from '../types.ts';
import { endLeftovers, removeBox, removeRubbish } from './box.ts';
import { type Commands, createCommands, journalPath, readJournals } from './commands.ts';
import type { Journal } from './journal.ts';
import { type LiveSandbox, type Shape, startSandbox, type Surroundings } from './sandbox.ts';
import { checkShape, checkSpec, lifetimeMs, sameShape } from './spec.ts';
import { watch } from './watchdog.ts';

/** What a client may change while the holder runs. */
export interface Settings {
  readonly maxSandboxes: number;
  /** Of the machine, for everybody else: no sandbox is started when less is free. */
  readonly memoryReserveMb: number;
  readonly maxJournalBytes: number;
  /** Started ahead; without a spec, like the one that was asked for last. */
  readonly warm: { readonly count: number; readonly spec: Shape | null };
}

export interface Holder {
  readonly capabilities: SandboxCapabilities;
  readonly settings: Settings;
  readonly size: number;
  configure(settings: Settings): void;
  ensure(spec: SandboxSpec): Promise<SandboxView>;
  view(id: string): SandboxView | undefined;
  list(): SandboxView[];
  stop(id: string): Promise<void>;
  /** Throws SANDBOX_LOST when it is dead or not there. */
  commands(id: string): Commands;
  live(id: string): LiveSandbox;
  diskMb(id: string): Promise<number>;
  journal(id: string, process: string): Journal | undefined;
  close(): Promise<void>;
}

interface Entry {
  readonly spec: Pick<SandboxSpec, 'id' | 'labels'> & Partial<Shape>;
  readonly createdAt: number;
  lastUsedAt: number;
  readonly journals: Map<string, Journal>;
  readonly live: LiveSandbox | undefined;
  readonly commands: Commands | undefined;
  readonly home: string;
  readonly workspace: string;
  readonly source: string | null;
  reason: string | null;
  readonly expiry: NodeJS.Timeout | undefined;
}

/** What a dead sandbox's folder of journals says about it. No process can have this name. */
const DEATH = '.death.json';
type Death = Pick<SandboxView, 'id' | 'labels' | 'source' | 'home' | 'workspace' | 'createdAt' | 'lastUsedAt'> & {
  readonly reason: string;
};
const REFILL_AFTER_MS = 100;
/** As long a dead sandbox waits for somebody to read its journals. */
const DEAD_KEPT_MS = 24 * 60 * 60 * 1000;

export function createHolder(
  around: Surroundings,
  capabilities: SandboxCapabilities,
  initial: Settings,
  now: () => number,
  /** Why this machine cannot isolate. */
  problem: string | null,
): Holder {
  const entries = new Map<string, Entry>();
  const starting = new Map<string, Promise<SandboxView>>();
  const warm: LiveSandbox[] = [];
  let settings = initial;
  let lastShape: Shape | undefined;
  let refilling = false;
  let refillTimer: NodeJS.Timeout | undefined;
  let closed = false;
  for (const entry of readDead()) entries.set(entry.spec.id, entry);
  const watchdog = watch({
    list: () => [...entries.values()].flatMap(({ live, commands }) => (live && commands ? [{ live, commands }] : [])),
    enforcesMemory: around.cgroups !== undefined,
    log: around.log,
  });
  void refill();
  const sweep = setInterval(() => void forgetOldDead(), 60 * 60 * 1000);

  /** Sandboxes of earlier holders: their processes are dead, their journals end as lost. */
  function readDead(): Entry[] {
    return fs.readdirSync(around.folders.journals).map((id) => {
      const folder = join(around.folders.journals, id);
      const death = readDeath(folder) ?? {
        id,
        labels: {},
        source: null,
        home: '',
        workspace: '',
        createdAt: now(),
        lastUsedAt: now(),
        reason: 'lost',
      };
      writeDeath(folder, death);
      const { reason, home, workspace, source, createdAt, lastUsedAt, labels } = death;
      return {
        spec: {
          id,
          labels,
        },
        journals: readJournals(folder, now),
        live: undefined,
        commands: undefined,
        expiry: undefined,
        home,
        workspace,
        source,
        createdAt,
        lastUsedAt,
        reason,
      };
    });
  }

  async function ensure(spec: SandboxSpec): Promise<SandboxView> {
    checkSpec(spec);
    if (problem !== null) throw new SandboxError('ISOLATION_UNAVAILABLE', problem);
    const known = entries.get(spec.id);
    if (known?.live !== undefined && known.reason === null) {
      if (!sameShape(known.live.shape, spec)) {
        throw new SandboxError(
          'INVALID_SPEC',
          `the sandbox ${spec.id} was made with other limits, mounts or relays: stop it first, or use a new id`,
        );
      }
      known.lastUsedAt = now();
      return viewOf(known);
    }
    let begun = starting.get(spec.id);
    if (begun === undefined) {
      begun = begin(spec, known).finally(() => starting.delete(spec.id));
      starting.set(spec.id, begun);
    }
    return begun;
  }

  async function begin(spec: SandboxSpec, before: Entry | undefined): Promise<SandboxView> {
    checkCapacity();
    const folder = join(around.folders.journals, spec.id);
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    fs.rmSync(join(folder, DEATH), { force: true });
    let live: LiveSandbox;
    try {
      live = takeWarm(spec) ?? (await startSandbox(spec, around));
    } catch (error) {
      if (before === undefined) fs.rmSync(folder, { recursive: true, force: true });
      throw error;
    }
    lastShape = { limits: spec.limits, mounts: spec.mounts, relays: spec.relays };
    replaceWarm();
    live.claim(spec.id);
    // of an earlier life: whoever still reads them sees how they ended
    const journals = before?.journals ?? new Map<string, Journal>();
    const lifetime = lifetimeMs(spec.labels) ?? Number.POSITIVE_INFINITY;
    const entry: Entry = {
      spec,
      createdAt: now(),
      lastUsedAt: now(),
      journals,
      live,
      commands: createCommands({ sandbox: live, folder, journals, maxJournalBytes: settings.maxJournalBytes, now }),
      home: live.home,
      workspace: live.workspace,
      source: live.source,
      reason: null,
      expiry: Number.isFinite(lifetime)
        ? setTimeout(() => void live.stop('maxLifetime is over'), Math.min(lifetime, 2 ** 31 - 1))
        : undefined,
    };
    entries.set(spec.id, entry);
    void live.ended.then((reason) => onEnd(entry, folder, reason));
    return viewOf(entry);
  }

  function onEnd(entry: Entry, folder: string, reason: string): void {
    entry.reason = reason;
    clearTimeout(entry.expiry);
    // a stop removes all of it anyway
    if (reason === 'stopped' || closed) return;
    around.log('warn', 'a sandbox died', { id: entry.spec.id, reason });
    writeDeath(folder, { ...viewOf(entry), reason });
  }

  function checkCapacity(): void {
    const held = [...entries.values()].filter(({ reason }) => reason === null).length + starting.size;
    if (closed) throw new SandboxError('SANDBOX_UNREACHABLE', 'the holder of the sandboxes is ending');
    if (held >= settings.maxSandboxes) {
      throw new SandboxError('SANDBOX_CAPACITY', `there are ${held} sandboxes, as many as are allowed: stop some, or allow more`);
    }
    const free = availableMemoryMb();
    if (free < settings.memoryReserveMb) {
      throw new SandboxError(
        'SANDBOX_CAPACITY',
        `only ${Math.floor(free)} MB of memory are free, ${settings.memoryReserveMb} are kept in reserve`,
      );
    }
  }

  function takeWarm(shape: Shape): LiveSandbox | undefined {
    const index = warm.findIndex((each) => sameShape(each.shape, shape));
    return index === -1 ? undefined : warm.splice(index, 1)[0];
  }

  /** In the background, one at a time. */
  async function refill(): Promise<void> {
    if (refilling) return;
    refilling = true;
    try {
      while (!closed && problem === null && warm.length < settings.warm.count && availableMemoryMb() > settings.memoryReserveMb) {
        const shape = warmShape();
        if (shape === undefined) return;
        const live = await startSandbox(shape, around);
        if (closed || !fits(live)) {
          await live.stop('stopped');
          continue;
        }
        warm.push(live);
        void live.ended.then(() => {
          const index = warm.indexOf(live);
          if (index !== -1) warm.splice(index, 1);
        });
      }
    } catch (error) {
      around.log('warn', 'starting a sandbox ahead failed', { error: (error as Error).message });
    } finally {
      refilling = false;
    }
  }

  function configure(wanted: Settings): void {
    if (wanted.warm.spec !== null) checkShape(wanted.warm.spec);
    settings = wanted;
    replaceWarm();
  }

  function warmShape(): Shape | undefined {
    return settings.warm.spec ?? lastShape;
  }

  function fits(live: LiveSandbox): boolean {
    const shape = warmShape();
    return shape !== undefined && sameShape(shape, live.shape);
  }

  function replaceWarm(): void {
    for (const each of warm.filter((each, index) => index >= settings.warm.count || !fits(each))) {
      warm.splice(warm.indexOf(each), 1);
      void each.stop('stopped');
    }
    // whoever has just got one has first call on the processor
    clearTimeout(refillTimer);
    refillTimer = setTimeout(() => void refill(), REFILL_AFTER_MS);
  }

  async function stop(id: string): Promise<void> {
    await starting.get(id)?.catch(() => undefined);
    const entry = entries.get(id);
    if (entry === undefined) return;
    await entry.live?.stop('stopped');
    // its processes hear of the end in the same turn; their journals are closed by then
    await Promise.resolve();
    clearTimeout(entry.expiry);
    if (entries.get(id) === entry) {
      entries.delete(id);
      fs.rmSync(join(around.folders.journals, id), { recursive: true, force: true });
    }
  }

  async function forgetOldDead(): Promise<void> {
    for (const { spec, reason, lastUsedAt } of entries.values()) {
      if (reason !== null && lastUsedAt < now() - DEAD_KEPT_MS) await stop(spec.id);
    }
  }

  function used(id: string): Entry & { live: LiveSandbox; commands: Commands } {
    const entry = entries.get(id);
    if (entry === undefined) throw new SandboxError('SANDBOX_LOST', `there is no sandbox ${id} any more`);
    entry.lastUsedAt = now();
    if (entry.live === undefined || entry.commands === undefined || entry.reason !== null) {
      throw new SandboxError('SANDBOX_LOST', `the sandbox ${id} has ended: ${entry.reason ?? 'lost'}`);
    }
    return entry as Entry & { live: LiveSandbox; commands: Commands };
  }

  return {
    capabilities,
    get settings() {
      return settings;
    },
    get size() {
      return [...entries.values()].filter(({ reason }) => reason === null).length + starting.size;
    },
    configure,
    ensure,
    view: (id) => {
      const entry = entries.get(id);
      return entry === undefined ? undefined : viewOf(entry);
    },
    list: () => [...entries.values()].map(viewOf),
    stop,
    commands: (id) => used(id).commands,
    live: (id) => used(id).live,
    diskMb: (id) => watchdog.diskMb(used(id).live),
    journal: (id, process) => {
      // also refuses names that would lead elsewhere
      journalPath('/', process);
      return entries.get(id)?.journals.get(process);
    },
    close: async () => {
      closed = true;
      clearInterval(sweep);
      clearTimeout(refillTimer);
      watchdog.close();
      await Promise.allSettled(starting.values());
      await Promise.all([...entries.values()].flatMap(({ live }) => (live === undefined ? [] : [live.stop('the holder ended')])));
      await Promise.all(warm.map((each) => each.stop('stopped')));
      around.cgroups?.close();
    },
  };
}

function viewOf(entry: Entry): SandboxView {
  return {
    id: entry.spec.id,
    labels: entry.spec.labels,
    state: entry.reason === null && entry.live?.ending !== true ? 'ready' : 'dead',
    source: entry.source,
    home: entry.home,
    workspace: entry.workspace,
    createdAt: entry.createdAt,
    lastUsedAt: entry.lastUsedAt,
    processes: [...entry.journals.keys()],
    reason: entry.reason,
  };
}

function writeDeath(folder: string, death: Death): void {
  if (fs.existsSync(folder)) fs.writeFileSync(join(folder, DEATH), JSON.stringify(death), { mode: 0o600 });
}

function readDeath(folder: string): Death | undefined {
  try {
    return JSON.parse(fs.readFileSync(join(folder, DEATH), 'utf8')) as Death;
  } catch {
    return undefined;
  }
}

/** What an earlier holder of this folder left, when it was killed: its sandboxes die with it, but for moments and files. */
export async function cleanUpAfterCrash(around: Pick<Surroundings, 'folders' | 'log'>): Promise<void> {
  const { folders } = around;
  for (const name of fs.readdirSync(folders.boxes)) {
    const folder = join(folders.boxes, name);
    const note = await endLeftovers(folder, around.log);
    if (note?.sandboxId != null) around.log('warn', 'a sandbox was lost with its holder', { id: note.sandboxId });
    await removeBox(folders, folder, around.log);
  }
  for (const name of fs.readdirSync(folders.trash)) await removeRubbish(join(folders.trash, name), around.log);
}
