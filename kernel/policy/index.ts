/**
 * Policy: which requests are allowed, which a person must approve, and which are denied.
 *
 * It promises a pure answer, from a published text and a request with everything in it, so that a decision can be repeated
 * years later; that a text with an error in it is never in force; that what fails counts against the request; and that a
 * decision takes microseconds, whatever an agent puts into it. It never resolves a secret, asks a person or sends
 * anything: it says what should be done, and others do it.
 */
export { activePolicy, type ActivePolicy } from './active.ts';
export {
  APPROVAL_STATES,
  type ApprovalDetail,
  type ApprovalFilter,
  type ApprovalState,
  type ApprovalView,
  askApproval,
  askApprovalIn,
  consumeApproval,
  decisionOn,
  type Editing,
  findApproval,
  getApproval,
  listApprovals,
  type Given,
  givenApproval,
  returnApproval,
  takeApproval,
  useApproval,
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
export { covers, redact, valueAt } from './arguments.ts';
export type { Budget } from './budgets.ts';
export { BUILTIN_POLICY } from './builtin.ts';
export { type CompiledPolicy, compilePolicy, type PolicySchemas, type TestOutcome } from './compile.ts';
export type { Problem } from './document.ts';
export { type DraftView, getDraft, listDrafts, removeDraft, saveDraft } from './drafts.ts';
export { PolicyError, type PolicyErrorCode } from './errors.ts';
export { type AskedBy, expireApproval, type Swept, sweepApprovals } from './expiry.ts';
export type { JsonSchema } from './expression.ts';
export { globMatcher, matchesName } from './glob.ts';
export { decideCounted, pruneLimits, takeLimit } from './limits.ts';
export { DEFAULT_GATE, type Gate, type Rule } from './parse.ts';
export { type Voter } from './people.ts';
export { findSticky, listSticky, revokeSticky, type StickyAsk, type StickyCall, type StickyView, useSticky } from './sticky.ts';
export { shadowReport, type ShadowReport } from './shadow-report.ts';
export { composeTemplates, listTemplates, readTemplate } from './templates.ts';
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
  type Spend,
  type Spent,
  type ToolRequest,
} from './types.ts';
export {
  endShadow,
  getVersion,
  listVersions,
  type PolicyVersion,
  type Publication,
  publishPolicy,
  rollbackPolicy,
  shadowPolicy,
} from './versions.ts';
export {
  BULK_MOST,
  type BulkOutcome,
  castVote,
  castVoteIn,
  castVotes,
  lockApproval,
  type LockedApproval,
  type Channel,
  overrideApproval,
  type Vote,
  type VotingParts,
  whyNotVoter,
} from './votes.ts';
