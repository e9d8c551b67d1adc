/**
 * Usage: what models were asked for in turns, what it cost, and who may spend how much.
 *
 * It promises that a turn is counted exactly once, with its end, by what its stream says; that money is whole millionths,
 * rounded once for each turn; that a model without a price has no cost, rather than an invented one; and that a budget with
 * nothing left lets no turn begin. It never stops a turn that has begun, and knows nothing of a turn's tokens before its end.
 */
export { exhaustedBudget, money } from './budgets.ts';
export { costOf, type Price, type Prices } from './prices.ts';
export { listUsage, readSpend, usageByModel, type UsageRow } from './reads.ts';
export { priceLate } from './late.ts';
export { pruneUsage, recordUsage, workflowOf } from './record.ts';
