/** What the policy says to a call, and whom it would have asked. */
import {
  activePolicy,
  type Decision,
  decideCounted,
  DEFAULT_GATE,
  policyTime,
  type StickyCall,
  takeLimit,
  type ToolRequest,
} from '../policy/index.ts';
import { readSpend } from '../usage/index.ts';
import type { Installation } from '../vault/index.ts';
import type { ApprovalRequest } from './approvals.ts';
import { denialOf, msSince, type Verdict } from './entries.ts';
import { ToolError } from './errors.ts';
import { digestOf, type Prepared } from './prepare.ts';
import { sensitivePaths } from './sensitive.ts';

/** @throws ToolError POLICY_DENIED, POLICY_FAILED */
export async function decide(
  installation: Installation,
  call: Prepared,
  waiting: AbortSignal,
): Promise<{ readonly verdict: Verdict; readonly ask?: ApprovalRequest; readonly sticky?: StickyCall }> {
  const { caller, user, tool, method, args } = call;
  const began = performance.now();
  const { facts, decision, shadow, request, policy } = await judge(installation, call);
  const beside = shadowOf(decision, shadow, request);
  const { effect, gate, exhausted } = await decideCounted(decision, (...limit) => takeLimit(installation.store, ...limit));
  const verdict: Verdict = {
    ...facts,
    policy_ms: msSince(began),
    ...(exhausted.length === 0 ? {} : { exhausted }),
    ...(beside === undefined ? {} : { shadow: beside }),
  };
  if (effect === 'allow') return { verdict };
  // what was approved for one user is not approved for another
  const asUser = user === undefined ? {} : { user, own: [...(call.own?.secrets.values() ?? [])].toSorted() };
  const bound = { kind: 'tool', principal: caller.principal, tool: tool.name, method: method.name, risk: method.risk, ...asUser };
  // what was approved for one run of a workflow is not approved for another
  const once = { ...bound, ...(caller.workflow === undefined ? {} : { run: caller.runId }) };
  const { args: _, now: __, ...subject } = request;
  const ask: ApprovalRequest = {
    digest: digestOf({ ...once, args }),
    gate,
    rule: facts.rule,
    caller,
    user,
    tool: tool.name,
    method: method.name,
    risk: method.risk,
    editing: { args, request: subject, bound: once, sensitive: sensitivePaths(method.input) },
    facts: verdict,
    until: performance.now() + call.waitMs,
    signal: waiting,
    onWaits: call.onWaits,
  };
  const terms = policy.gates.get(gate) ?? DEFAULT_GATE;
  const { threadKey, runId } = caller;
  return { verdict, ask, sticky: { bound, args, risk: method.risk, gate, rule: facts.rule, terms, threadKey, runId } };
}

/** What the policy says now, without counting it. @throws ToolError POLICY_DENIED, POLICY_FAILED */
export async function judge({ store, audit }: Installation, call: Prepared) {
  const { caller, user, tool, method, args } = call;
  const asked: ToolRequest = {
    kind: 'tool',
    principal: caller.principal,
    ...(caller.runId === undefined ? {} : { run: caller.runId }),
    ...(caller.workflow === undefined ? {} : { workflow: caller.workflow }),
    ...(caller.threadKey === undefined ? {} : { thread: caller.threadKey }),
    ...(user === undefined ? {} : { user }),
    ...(caller.channel === undefined ? {} : { channel: caller.channel }),
    tool: { name: `${tool.name}.${method.name}`, risk: method.risk },
    args,
    now: policyTime(store.now()),
  };
  const { version, policy, shadow } = await activePolicy(store);
  const reads = policy.readsSpend || shadow?.policy.readsSpend === true;
  const spent = reads ? await readSpend(store, { thread: caller.threadKey, workflow: caller.workflow, user }, store.now()) : undefined;
  const request: ToolRequest = { ...asked, ...(spent === undefined ? {} : { spend: spent }) };
  let decision: Decision;
  try {
    decision = policy.decide(request);
  } catch {
    await audit.write(denialOf(call, { policy: version, reason: 'POLICY_FAILED' }));
    throw new ToolError('POLICY_FAILED', 'the policy could not decide, so the call is refused');
  }
  const rule = decision.rule ?? 'default';
  const facts = {
    policy: version,
    rule,
    // an input of the decision, like the time
    ...(spent === undefined ? {} : { spend: spent }),
    // which conditions failed; what they say of it may quote the arguments
    ...(decision.errors.length === 0 ? {} : { failed_rules: decision.errors.map((each) => each.rule) }),
  };
  if (decision.effect === 'deny') {
    const beside = shadowOf(decision, shadow, request);
    await audit.write(denialOf(call, { ...facts, ...(beside === undefined ? {} : { shadow: beside }) }));
    throw new ToolError('POLICY_DENIED', decision.message ?? 'the policy does not allow this call', { details: { rule } });
  }
  return { facts, decision, shadow, request, policy };
}

/** What rules and versions in shadow would have said: recorded, without effect. */
function shadowOf(decision: Decision, beside: Awaited<ReturnType<typeof activePolicy>>['shadow'], request: ToolRequest): unknown {
  const rules = decision.shadow.length > 0 ? { rules: decision.shadow } : {};
  if (beside === undefined) return decision.shadow.length > 0 ? rules : undefined;
  try {
    const { effect, rule } = beside.policy.decide(request);
    return { ...rules, version: beside.version, effect, rule };
  } catch {
    return { ...rules, version: beside.version, failed: true };
  }
}
