/** Rotations whose time has come, and those that were asked for: a run for each. */
import type { Engine } from '@centaur/kernel/engine';
import type { StoreLogEntry } from '@centaur/kernel/store';
import {
  abandonRotation,
  askDueRotation,
  dueRotations,
  listOpenRotations,
  type OpenRotation,
  retireVersions,
  type RotationParts,
  runOfRotation,
  tellFirewalls,
} from '@centaur/kernel/vault';

/** Also `stuck`: it goes on only when somebody has helped it, and its secret waits for nobody. */
const OVER = new Set(['completed', 'failed', 'cancelled', 'stuck']);

/**
 * Any number of processes may do this, as often as they like.
 *
 * @param now what is due is due by it
 */
export async function lookAfterRotations(
  parts: RotationParts,
  engine: Pick<Engine, 'start' | 'getRun'>,
  log: (entry: StoreLogEntry) => void,
  now: Date,
): Promise<void> {
  const { store } = parts;
  for (const name of await dueRotations(store, now)) {
    // one that fails, because its row was changed, holds up none of the others
    await askDueRotation(parts, name, now).catch((error: Error) =>
      log({ level: 'error', message: 'a secret could not be rotated', secret: name, error: error.message }),
    );
  }
  for (const rotation of await listOpenRotations(store)) {
    await lookAfter(parts, engine, log, rotation).catch((error: Error) =>
      log({ level: 'error', message: 'a rotation could not be looked after', secret: rotation.name, error: error.message }),
    );
  }
  // of values that were replaced by hand
  if ((await retireVersions(store, now)) > 0) await tellFirewalls(store);
}

async function lookAfter(
  parts: RotationParts,
  engine: Pick<Engine, 'start' | 'getRun'>,
  log: (entry: StoreLogEntry) => void,
  rotation: OpenRotation,
): Promise<void> {
  const { rotationId, name, runId } = rotation;
  // asked for by a process that died behind it, or just now
  const status = rotation.state === 'asked' ? (await engine.start(runOfRotation(rotation))).status : await statusOf(engine, rotation);
  if (!OVER.has(status)) return;
  const abandoned = await abandonRotation(parts, rotationId);
  if (abandoned === undefined) return;
  log({ level: 'error', message: 'the run of a rotation ended before it', secret: name, run_id: runId });
  const { made, id } = abandoned;
  if (made !== 'nothing')
    log({ level: 'error', message: 'a service may have made a value that nobody uses: revoke it there', secret: name, run_id: runId, id });
}

async function statusOf(engine: Pick<Engine, 'getRun'>, { runId }: OpenRotation): Promise<string> {
  try {
    return (await engine.getRun(runId as string)).status;
  } catch (error) {
    if ((error as { code?: unknown }).code === 'RUN_NOT_FOUND') return 'cancelled';
    throw error;
  }
}
