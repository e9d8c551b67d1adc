/** Whether the database is there and has this release's tables. */
import { readdirSync } from 'node:fs';
import { type Queryable, sqlState } from '../store/index.ts';
import { ApiError } from './errors.ts';

const MIGRATIONS = new URL('../store/migrations/', import.meta.url);

export interface MigrationState {
  readonly applied: readonly string[];
  readonly pending: readonly string[];
}

/** What `migrate` has done and would do. */
export async function migrationState(on: Queryable): Promise<MigrationState> {
  const known = readdirSync(MIGRATIONS)
    .filter((file) => file.endsWith('.sql'))
    .sort();
  const applied = await appliedIds(on);
  const idOf = (file: string) => Number(file.slice(0, 4));
  return { applied: known.filter((file) => applied.has(idOf(file))), pending: known.filter((file) => !applied.has(idOf(file))) };
}

/** @throws ApiError NOT_READY */
export async function checkReady(on: Queryable): Promise<void> {
  const { pending } = await migrationState(on);
  if (pending.length > 0)
    throw new ApiError('NOT_READY', `the database lacks migration ${pending[0]}`, { headers: { 'retry-after': '1' } });
}

async function appliedIds(on: Queryable): Promise<Set<number>> {
  try {
    const { rows } = await on.query<{ id: number }>('select id from centaur_migrations');
    return new Set(rows.map((row) => row.id));
  } catch (error) {
    // 42P01: no such table, so nothing was ever migrated
    if (sqlState(error) === '42P01') return new Set();
    throw error;
  }
}
