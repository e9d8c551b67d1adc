/**
 * The store: everything that talks to Postgres without knowing what the rows mean.
 *
 * It promises migrated tables, connections with the right settings, notifications that survive reconnects, and a
 * group-commit writer whose promise resolves only after the commit. It never interprets a row: statements live with
 * the code that owns the table.
 */
export { connectStore, type Store, type StoreOptions } from './store.ts';
export { StoreError, type StoreErrorCode } from './errors.ts';
export { migrate } from './migrate.ts';
