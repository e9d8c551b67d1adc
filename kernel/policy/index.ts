/**
 * Policy: which requests are allowed, which a person must approve, and which are denied.
 *
 * It promises a pure answer, from a published text and a request with everything in it, so that a decision can be repeated
 * years later; that a text with an error in it is never in force; that what fails counts against the request; and that a
 * decision takes microseconds, whatever an agent puts into it. It never resolves a secret, asks a person or sends
 * anything: it says what should be done, and others do it.
 */
export {
  type ApprovalFilter,
  type ApprovalState,
  type ApprovalView,
  askApproval,
  askApprovalIn,
  consumeApproval,
  decideApproval,
  decisionOn,
  expireApproval,
  findApproval,
  getApproval,
  listApprovals,
  givenApproval,
  returnApproval,
  takeApproval,
  withdrawApprovals,
} from './approvals.ts';
export {
  backtest,
  type BacktestOptions,
  type BacktestReport,
  type ChangedDecision,
  diffDecisions,
  type RecordedRequest,
} from './backtest.ts';
export { BUILTIN_POLICY } from './builtin.ts';
export { type CompiledPolicy, compilePolicy, type PolicySchemas, type TestOutcome } from './compile.ts';
export type { Problem } from './document.ts';
export { PolicyError, type PolicyErrorCode } from './errors.ts';
export type { JsonSchema } from './expression.ts';
export { globMatcher } from './glob.ts';
export { decideCounted, pruneLimits, takeLimit } from './limits.ts';
export type { Gate, Rule } from './parse.ts';
export {
  type Decision,
  type Effect,
  type EgressRequest,
  type Explanation,
  type LimitUse,
  policyTime,
  type PolicyRequest,
  type PolicyTime,
  type RuleTrace,
  type ToolRequest,
} from './types.ts';
export {
  activePolicy,
  type ActivePolicy,
  endShadow,
  getVersion,
  listVersions,
  type PolicyVersion,
  type Publication,
  publishPolicy,
  rollbackPolicy,
  shadowPolicy,
} from './versions.ts';
