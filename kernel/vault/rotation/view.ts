/** What is told of the last rotation of a secret. */
import type { RotationDriver } from './declared.ts';

export type RotationState = 'asked' | 'begun' | 'active' | 'done' | 'failed' | 'unrevoked' | 'ended';

export interface RotationView {
  readonly rotation_id: string;
  /** Null until a run has begun it. */
  readonly run_id: string | null;
  readonly driver: RotationDriver;
  readonly state: RotationState;
  /** A code, where it did not come to its end. */
  readonly reason: string | null;
  /** Who asked: `system`, when its time had come. */
  readonly asked_by: string;
  readonly from_version: number | null;
  readonly to_version: number | null;
  readonly asked_at: string;
  readonly ended_at: string | null;
  /** Of one that failed: when it is tried again by the clock. */
  readonly retry_at: string | null;
}

/** For a secret `s`. */
export const LAST_ROTATION = `select rotation_id, run_id, driver, state, reason, actor as asked_by, from_version, to_version, asked_at, ended_at, retry_at
  from secret_rotations where name = s.name order by rotation_id desc limit 1`;

/** Times as `row_to_json` writes them. */
export type RotationViewRow = RotationView;

export function toRotationView(row: RotationViewRow): RotationView {
  const time = (text: string | null) => (text === null ? null : new Date(text).toISOString());
  return { ...row, asked_at: new Date(row.asked_at).toISOString(), ended_at: time(row.ended_at), retry_at: time(row.retry_at) };
}
