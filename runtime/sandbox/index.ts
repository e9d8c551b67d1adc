/**
 * Sandboxes: where a thread's harness and commands run. One per thread, with a home and a workspace of its own and no network
 * but its relays; whatever runs in one is hostile, and reaches neither the host nor another thread. No secret is ever in one.
 */
export { createLocalBackend } from './local/index.ts';
export type * from './types.ts';
