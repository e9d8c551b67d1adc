/**
 * What the steps of a rotation do: the new value is made, tried, put in place, and the one before is destroyed.
 *
 * It promises that each step may be repeated, by whichever process, and finds what it had done; that no value is in what a step answers
 * or fails with; and that nothing is changed at a service without an entry before it. Until a new value is in place, the present one
 * stays in use; what cannot be known of a service is said, and never guessed. `vault/rotation` keeps how far each has come.
 */
import type { StoreLogEntry } from '../store/index.ts';
import {
  activateRotation,
  type Begun,
  beginRotation,
  failRotation,
  isRotationError,
  makePlaceholder,
  noteAltering,
  noteOutward,
  openMinted,
  openRotation,
  parseGenerate,
  preparePending,
  remindRotation,
  retireReplaced,
  type RotationDriver,
  RotationError,
  type RotationErrorCode,
  type RotationParts,
  type RotationState,
  whatWasMinted,
} from '../vault/index.ts';
import { mintByRequest, probeByRequest, revokePending, revokeReplaced } from './http-steps.ts';
import { probePassword, setNewPassword, undoPassword, withNewPassword } from './postgres-role.ts';

export interface RotationsOptions extends RotationParts {
  readonly log: (entry: StoreLogEntry) => void;
}

/** Each is a step of the run, by its id. @throws RotationError, whose texts have no value in them */
export interface Rotations {
  begin(rotationId: string, runId: string): Promise<Begun>;
  remind(runId: string): Promise<Begun>;
  mint(driver: RotationDriver, runId: string): Promise<{ readonly version: number }>;
  probe(driver: RotationDriver, runId: string): Promise<void>;
  activate(runId: string): Promise<{ readonly version: number; readonly grace_until: number }>;
  /** @throws RotationError also when the service does not take it back: the step is tried again */
  revoke(driver: RotationDriver, runId: string): Promise<{ readonly state: RotationState }>;
  /** It was tried long enough. @param code what it failed with */
  leaveUnrevoked(runId: string, code: string): Promise<{ readonly state: RotationState }>;
  /** @param code what it failed with */
  giveUp(driver: RotationDriver, runId: string, code: string): Promise<{ readonly state: RotationState; readonly reason: string | null }>;
}

export function createRotations(options: RotationsOptions): Rotations {
  const { store, log } = options;
  return {
    begin: (rotationId, runId) => beginRotation(options, rotationId, runId),

    async remind(runId) {
      const reminded = await remindRotation(options, runId);
      log({ level: 'warn', message: 'a secret is due to be rotated by hand', secret: reminded.name, run_id: runId });
      return reminded;
    },

    async mint(driver, runId) {
      if (driver === 'http') return mintByRequest(options, runId);
      const { secret } = await openRotation(options, runId);
      if (driver === 'generate') {
        const shape = parseGenerate(secret.options);
        if (shape === undefined) throw new RotationError('DESCRIBED_ANEW');
        // as random as a placeholder, and made the same way
        return preparePending(options, runId, () => makePlaceholder(shape), 'destroy');
      }
      const pending = await preparePending(options, runId, () => withNewPassword(secret.value), 'adopt');
      const opened = await openRotation(options, runId);
      await setNewPassword(store, opened, () => noteAltering(options, runId, { what: 'alter role' }));
      return pending;
    },

    async probe(driver, runId) {
      if (driver === 'http') await probeByRequest(options, runId);
      if (driver !== 'postgres_role') return;
      await probePassword(store, await openRotation(options, runId));
      await noteOutward(options, runId, 'secret.rotation_probed', {});
    },

    activate: (runId) => activateRotation(options, runId),

    async revoke(driver, runId) {
      if (driver === 'http' && (await revokeReplaced(options, runId)) === 'in use') return retireReplaced(options, runId, 'IN_USE');
      return retireReplaced(options, runId);
    },

    async leaveUnrevoked(runId, code) {
      const reason = toReason(code);
      log({
        level: 'error',
        message: 'a value that was replaced may still be good at its service: revoke it there',
        run_id: runId,
        reason,
      });
      return retireReplaced(options, runId, reason);
    },

    async giveUp(driver, runId, code) {
      const reason = toReason(code);
      const pending = driver === 'postgres_role' ? await undo(runId, reason) : 'destroy';
      if (driver === 'http') await takeBack(runId, reason);
      const ended = await failRotation(options, runId, reason, pending);
      if (ended.state === 'failed')
        log({
          level: 'error',
          message: 'a secret could not be rotated; its value stays in use',
          run_id: runId,
          reason,
          kept: pending === 'keep',
        });
      return { state: ended.state, reason: 'reason' in ended ? ended.reason : null };
    },
  };

  /** @returns what may become of the new value */
  async function undo(runId: string, reason: string): Promise<'destroy' | 'keep'> {
    try {
      // also when another value is in use by now: the role is to take that one
      const opened = await openMinted(options, runId);
      if (opened === undefined) return 'destroy';
      await undoPassword(store, opened, reason === 'PROBE_FAILED' ? 'set' : 'unknown', () =>
        noteOutward(options, runId, 'secret.rotation_request', { what: 'alter role back' }),
      );
      return 'destroy';
    } catch (error) {
      if (!(error instanceof RotationError)) throw error;
      if (reason === 'SUPERSEDED') {
        const message = 'nobody knows whether the database takes the value that somebody has given a secret meanwhile';
        log({ level: 'error', message, run_id: runId, reason: error.code });
        return 'destroy';
      }
      log({ level: 'error', message: new RotationError('UNDO_FAILED').message, run_id: runId, reason: error.code });
      return 'keep';
    }
  }

  /** What the service has made for it, where it is known. */
  async function takeBack(runId: string, reason: string): Promise<void> {
    const tell = (why: string, id?: string) =>
      log({ level: 'error', message: 'a service may have made a value that nobody uses: revoke it there', run_id: runId, reason: why, id });
    if (reason === 'MINT_UNKNOWN') return tell(reason);
    const { made, id } = await whatWasMinted(options, runId);
    if (made === 'nothing') return;
    try {
      const opened = await openMinted(options, runId);
      // it went with its secret
      if (opened === undefined) throw new RotationError('SUPERSEDED');
      await revokePending(options, runId, opened);
    } catch (error) {
      if (!(error instanceof RotationError)) throw error;
      tell(error.code, id);
      await noteOutward(options, runId, 'secret.rotation_unrevoked', { made: id ?? null, reason: error.code });
    }
  }
}

function toReason(code: string): RotationErrorCode | 'PLATFORM' {
  return isRotationError(code) ? code : 'PLATFORM';
}
