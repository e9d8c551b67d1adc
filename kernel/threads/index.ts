/**
 * Threads: conversations, the turns taken in them, and the stream of what happens in a turn.
 *
 * It promises that a message, an execution or an event is acknowledged only after its commit; that a request with an id
 * happens once, however often it is sent; that a thread has at most one turn at a time; that events of a thread are numbered
 * without gaps in the order in which they become visible, so that a reader who names the last one it saw gets exactly what
 * it missed; that what a chat service says is kept until somebody has acted on it; and that a final answer is owed until somebody says
 * that it was delivered. It knows no sandbox and no agent:
 * a turn is a run of the engine, and whoever runs it reports here.
 *
 * Read `types.ts` for the shapes, `requests.ts` for what clients ask, `personas.ts` for what a thread's agent is limited to and told, `turns.ts` for what a turn reports, `events.ts` and
 * `tail.ts` for the stream, `inbox.ts` and `deliveries.ts` for what comes from chat services and goes to them.
 */
export type { DeliveryState, DeliveryView } from './deliveries.ts';
export type { InboxState, InboxView } from './inbox.ts';
export type { Frames } from './tail.ts';
export type { Assigned, CataloguePersona, ThreadPersona } from './personas.ts';
export { createThreads, type Threads } from './threads.ts';
export { ThreadError } from './errors.ts';
export * from './types.ts';
