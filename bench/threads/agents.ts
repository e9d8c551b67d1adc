/** Sandboxes and turns under measurement: the demo harness, cold and warm. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createLocalBackend } from '@centaur/runtime/sandbox/local';
import { createTestAgents } from '../../test/support/agents.ts';
import { median } from '../measure.ts';

export interface AgentsMeasured {
  readonly cleanup: AsyncDisposableStack;
  readonly starts: number;
  note(name: string, value: number): void;
}

const LIMITS = { memoryMb: 512, processes: 64, diskMb: 64, tmpMb: 16, cpus: 1 };
const TRUE = { argv: ['/bin/true'], timeoutMs: 120_000, maxOutputBytes: 1000 } as const;

export async function measureAgents({ cleanup, starts, note }: AgentsMeasured): Promise<void> {
  await measureSandboxes(cleanup, starts, note);
  await using agents = await createTestAgents();
  const cold: number[] = [];
  const warm: number[] = [];
  for (let i = 0; i < starts; i++) {
    cold.push(await inputAfter(agents, `cold-${i}`));
    warm.push(await inputAfter(agents, 'cold-0'));
  }
  note('cold input ms', median(cold));
  note('warm input ms', median(warm));
}

/** From the message being accepted until a reader is told that the harness took the turn. */
async function inputAfter(agents: Awaited<ReturnType<typeof createTestAgents>>, threadKey: string): Promise<number> {
  const id = await agents.say(threadKey, 'say: hello');
  const began = performance.now();
  let took = Number.NaN;
  for await (const { bytes } of agents.threads.follow(threadKey, 0, { executionId: id, signal: AbortSignal.timeout(600_000) }))
    if (Number.isNaN(took) && Buffer.from(bytes).includes('event: turn.started')) took = performance.now() - began;
  return took;
}

async function measureSandboxes(cleanup: AsyncDisposableStack, starts: number, note: AgentsMeasured['note']): Promise<void> {
  const stateDir = mkdtempSync(path.join(os.tmpdir(), 'centaur-sb-'));
  cleanup.defer(() => rmSync(stateDir, { recursive: true, force: true }));
  const backend = createLocalBackend({ stateDir });
  cleanup.defer(() => backend.shutdown());
  const spec = (id: string) => ({ id, labels: {}, limits: LIMITS, mounts: [], relays: [] });
  await (await backend.ensure(spec('first'))).exec(TRUE);
  const before = availableMb();
  const cold: number[] = [];
  const warm: number[] = [];
  for (let i = 0; i < starts; i++) {
    const began = performance.now();
    const sandbox = await backend.ensure(spec(`cold-${i}`));
    await sandbox.exec(TRUE);
    const started = performance.now();
    cold.push(started - began);
    await sandbox.exec(TRUE);
    warm.push(performance.now() - started);
  }
  note('cold exec ms', median(cold));
  note('warm exec ms', median(warm));
  // of what the machine has left: what sandboxes share counts once
  note('idle sandbox MB', (before - availableMb()) / starts);
}

/** Of the machine. */
export function availableMb(): number {
  return Number(/MemAvailable:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) / 1024;
}
