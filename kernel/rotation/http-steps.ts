/** The steps of a rotation by requests: a value is made, tried, and the one before is taken back. */
import { type StoreLogEntry, untilStored } from '../store/index.ts';
import {
  noteMinting,
  noteNotMinted,
  noteOutward,
  openReplaced,
  openRotation,
  type OpenedRotation,
  preparePending,
  RotationError,
  type RotationParts,
  VaultError,
} from '../vault/index.ts';
import { type Answer, ask, describeRequest, readPointer } from './http.ts';

interface Parts extends RotationParts {
  readonly log: (entry: StoreLogEntry) => void;
}

/** As long as a fail-over of the database takes: what the service has made is nowhere else. */
const STORE_MS = 10 * 60_000;

export async function mintByRequest(parts: Parts, runId: string): Promise<{ readonly version: number }> {
  const { rotationId, secret, admin } = await openRotation(parts, runId);
  const request = secret.http?.mint;
  if (request === undefined) throw new RotationError('DESCRIBED_ANEW');
  const stands = { current: secret.value, admin: admin?.value };
  const known: { version?: number } = {};
  let answer: Answer;
  try {
    answer = await ask(parts.store, { request, secret, admin, stands, idempotencyKey: rotationId }, async () => {
      const made = await noteMinting(parts, runId, describeRequest('mint', request));
      if (made === undefined) return;
      known.version = made.version;
      throw new RotationError('ROTATION_OVER');
    });
  } catch (error) {
    if (known.version !== undefined) return { version: known.version };
    throw error instanceof RotationError && error.code === 'REQUEST_FAILED' ? new RotationError('MINT_UNKNOWN') : error;
  }
  const { status, text } = answer;
  // whoever leads elsewhere, or waited for the rest of the request, may have made one
  if (status >= 400 && status < 500 && status !== 408) {
    await noteNotMinted(parts, runId, { what: 'mint', status });
    throw new RotationError('MINT_REFUSED');
  }
  const value = status < 300 ? readPointer(text, request.value) : undefined;
  const id = request.id === undefined ? undefined : readId(text, request.id);
  if (value === undefined || (request.id !== undefined && id === undefined)) throw new RotationError('MINT_UNKNOWN');
  try {
    return await untilStored(() => preparePending(parts, runId, () => value, 'destroy', id), {
      forMs: STORE_MS,
      onFailure: (error) =>
        parts.log({
          level: 'error',
          message: 'a value that a service has made is not stored yet; trying again',
          run_id: runId,
          error: error.message,
        }),
    });
  } catch (error) {
    // of a kind that cannot be kept, or nobody's rotation any more: it is left at the service
    if (error instanceof VaultError || error instanceof RotationError) throw new RotationError('MINT_UNKNOWN');
    throw error;
  }
}

export async function probeByRequest(parts: Parts, runId: string): Promise<void> {
  const { secret, pending, pendingId, admin } = await openRotation(parts, runId);
  const request = secret.http?.probe;
  if (request === undefined) return;
  const stands = { new: pending, id: pendingId, admin: admin?.value };
  const { status } = await ask(parts.store, { request, secret, admin, stands }, () =>
    noteOutward(parts, runId, 'secret.rotation_request', describeRequest('probe', request)),
  );
  if (status < 200 || status >= 300) throw new RotationError('PROBE_FAILED');
  await noteOutward(parts, runId, 'secret.rotation_probed', { status });
}

/**
 * @returns `in use`: somebody has put it back in place, and it stays
 * @throws RotationError also where the service cannot be asked
 */
export async function revokeReplaced(parts: Parts, runId: string): Promise<'revoked' | 'in use'> {
  const { secret, replaced, replacedId, admin } = await openReplaced(parts, runId);
  if (replaced === secret.value) return 'in use';
  const request = secret.http?.revoke;
  if (request === undefined) return 'revoked';
  const stands = { current: secret.value, revoked: replaced, id: replacedId, admin: admin?.value };
  const { status } = await ask(parts.store, { request, secret, admin, stands }, () =>
    noteOutward(parts, runId, 'secret.rotation_request', describeRequest('revoke', request)),
  );
  await noteOutward(parts, runId, 'secret.rotation_answer', { what: 'revoke', status });
  if (!isGone(status)) throw new RotationError('REVOKE_FAILED');
  return 'revoked';
}

/** What was made is taken back, unless it is what is in use. @throws RotationError */
export async function revokePending(parts: Parts, runId: string, { secret, pending, pendingId, admin }: OpenedRotation): Promise<void> {
  if (pending === secret.value) return;
  const request = secret.http?.revoke;
  if (request === undefined) throw new RotationError('REVOKE_FAILED');
  const stands = { current: secret.value, revoked: pending, id: pendingId, admin: admin?.value };
  const { status } = await ask(parts.store, { request, secret, admin, stands }, () =>
    noteOutward(parts, runId, 'secret.rotation_request', describeRequest('revoke what was made', request)),
  );
  await noteOutward(parts, runId, 'secret.rotation_answer', { what: 'revoke what was made', status });
  if (!isGone(status)) throw new RotationError('REVOKE_FAILED');
}

/** Also by somebody else, or by a try that died behind it. */
function isGone(status: number): boolean {
  return (status >= 200 && status < 300) || status === 404 || status === 410;
}

/** One that stands in an address as it is: dots alone would lead to another one. */
function readId(text: string, pointer: string): string | undefined {
  const id = readPointer(text, pointer);
  return id !== undefined && /^[\w.:@=+-]{1,200}$/.test(id) && !/^\.+$/.test(id) ? id : undefined;
}
