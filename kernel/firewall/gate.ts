/** The decision on a request: the active policy, the approvals that it asks for, and the limits that it counts. */
import { createHash } from 'node:crypto';
import {
  type ActivePolicy,
  type Decision,
  decideCounted,
  type EgressRequest,
  PolicyError,
  policyTime,
  type Spend,
} from '../policy/index.ts';
import { canonicalJson } from '../store/index.ts';
import { opens } from '../vault/index.ts';
import type { Channel } from './exchange.ts';
import type { Cause } from './records.ts';
import type { EgressRules } from './rules.ts';
import type { Found, OutgoingRequest } from './substitute.ts';
import { RefusedError } from './target.ts';

export interface Approvals {
  /** Takes an approval of exactly this request; undefined when there is none. */
  take(digest: Buffer): Promise<string | undefined>;
  /** Asks for one, or finds that it was asked for. */
  ask(request: {
    readonly digest: Buffer;
    readonly gate: string;
    readonly rule: string;
    readonly egress: EgressRequest;
    readonly channel: Channel;
    readonly causes: readonly Cause[];
  }): Promise<{ readonly approvalId: string; readonly denied: string | null | undefined }>;
  /** Resolves when the approval is decided, or after `ms`. */
  decided(approvalId: string, ms: number, isGone: () => boolean): Promise<'approved' | 'denied' | 'pending'>;
}

export interface Verdict {
  readonly rule: string | null;
  /** Version of the policy; 0 is the built-in one. */
  readonly policy: number;
  /** How long it took to decide; not how long a person took. */
  readonly policyMs: number;
  readonly request: EgressRequest;
  readonly approval?: string | undefined;
  readonly shadow?: unknown;
  /** Conditions that failed, and were taken as their effect demands. */
  readonly errors?: Decision['errors'];
  /** Rules whose limit was used up. */
  readonly exhausted?: readonly string[];
}

export interface Gate {
  /** @throws RefusedError 403 */
  decide(asked: {
    readonly channel: Channel;
    readonly outgoing: OutgoingRequest;
    readonly found: readonly Found[];
    readonly bytes: number;
    readonly isGone: () => boolean;
    /** Looked up when people are asked. */
    readonly causes: () => Promise<readonly Cause[]>;
  }): Promise<Verdict>;
}

export interface GateOptions {
  readonly rules: () => EgressRules;
  readonly policy: () => ActivePolicy;
  readonly approvals: Approvals;
  /** Secrets of the lease that are bound to the target: sent by injection although no placeholder stands in the request. */
  readonly injected: (channel: Channel, outgoing: OutgoingRequest) => readonly string[];
  /** What was spent until now: asked for when a rule reads it. */
  readonly readSpend: (of: { readonly thread?: string | undefined; readonly workflow?: string | undefined }) => Promise<Spend>;
  readonly takeLimit: (rule: string, key: string, max: number, perMs: number) => Promise<boolean>;
  readonly now: () => number;
}

export function createGate(options: GateOptions): Gate {
  return {
    async decide({ channel, outgoing, found, bytes, isGone, causes }) {
      const { lease, target } = channel;
      const rules = options.rules();
      const { path } = outgoing.path;
      const secrets = [...new Set([...found.map((each) => each.secret), ...options.injected(channel, outgoing)])].sort();
      const listed =
        rules.isListed(target, outgoing.method, path) || (lease.egress !== undefined && opens(lease.egress, target, outgoing.method, path));
      const sent: EgressRequest = {
        kind: 'egress',
        principal: lease.principal,
        lease: { id: lease.leaseId, kind: lease.kind },
        ...(lease.runId === null ? {} : { run: lease.runId }),
        ...(lease.principal.startsWith('workflow:') ? { workflow: lease.principal.slice('workflow:'.length) } : {}),
        ...(lease.threadKey === null ? {} : { thread: lease.threadKey }),
        ...(lease.user === null ? {} : { user: lease.user }),
        ...(lease.channel === null ? {} : { channel: lease.channel }),
        scheme: target.scheme,
        host: target.host,
        port: target.port,
        method: outgoing.method,
        path,
        bytes,
        secrets,
        credentialed: secrets.length > 0,
        listed,
        now: policyTime(options.now()),
      };
      const began = performance.now();
      const { version, policy, shadow } = options.policy();
      const reads = policy.readsSpend || shadow?.policy.readsSpend === true;
      const request: EgressRequest = reads ? { ...sent, spend: await asking(options.readSpend(sent)) } : sent;
      let decision: Decision;
      try {
        decision = policy.decide(request);
      } catch (error) {
        throw new RefusedError(403, 'POLICY_FAILED', 'the policy could not decide, so the request is refused', {
          cause: (error as Error).message,
        });
      }
      const facts = { policy: version, rule: decision.rule };
      const beside = shadowOf(decision, shadow, request);
      if (decision.effect === 'deny')
        throw new RefusedError(403, 'POLICY_DENIED', decision.message ?? 'the policy does not allow this request', {
          ...facts,
          request,
          ...errorsOf(decision),
          ...(beside === undefined ? {} : { shadow: beside }),
        });
      const { effect, gate, exhausted } = await asking(decideCounted(decision, options.takeLimit));
      const policyMs = Math.round((performance.now() - began) * 100) / 100;
      const verdict: Verdict = { ...facts, policyMs, request, ...errorsOf(decision), ...(beside === undefined ? {} : { shadow: beside }) };
      if (effect === 'allow') return verdict;
      const approval = await approved(request, { rule: decision.rule, gate }, channel, outgoing, isGone, causes);
      return { ...verdict, approval, ...(exhausted.length === 0 ? {} : { exhausted }) };
    },
  };

  async function approved(
    request: EgressRequest,
    decision: { readonly rule: string | null; readonly gate: string },
    channel: Channel,
    outgoing: OutgoingRequest,
    isGone: () => boolean,
    causes: () => Promise<readonly Cause[]>,
  ): Promise<string> {
    if (outgoing.body === undefined)
      throw new RefusedError(413, 'BODY_TOO_LONG', 'a request that needs an approval has a body that is too long to be held');
    // what is approved is this request, down to its body, and nothing else
    const digest = createHash('sha256')
      .update(
        canonicalJson({
          principal: request.principal,
          scheme: request.scheme,
          host: request.host,
          port: request.port,
          method: request.method,
          path: neutral(outgoing.path.raw, channel),
          secrets: request.secrets,
          body: createHash('sha256').update(outgoing.body).digest('hex'),
        }),
      )
      .digest();
    // an approval is for whoever waits for the answer
    refuseGone(isGone);
    const taken = await asking(options.approvals.take(digest));
    if (taken !== undefined) return taken;
    const asked = options.approvals.ask({
      digest,
      gate: decision.gate,
      rule: decision.rule ?? 'default',
      egress: request,
      channel,
      causes: await asking(causes()),
    });
    const { approvalId, denied } = await asking(asked.catch(refuseMany));
    if (denied !== undefined)
      throw new RefusedError(
        403,
        'APPROVAL_DENIED',
        denied === null ? 'a person denied this request' : `a person denied this request: ${denied}`,
        { approval_id: approvalId },
      );
    const result = await asking(options.approvals.decided(approvalId, options.rules().limits.approvalMs, isGone));
    refuseGone(isGone);
    // a person takes time: what the policy denies by now is not sent
    if (result === 'approved') refuseDenied(request);
    const late = result === 'approved' ? await asking(options.approvals.take(digest)) : undefined;
    if (late !== undefined) return late;
    if (result === 'denied') throw new RefusedError(403, 'APPROVAL_DENIED', 'a person denied this request', { approval_id: approvalId });
    throw new RefusedError(403, 'APPROVAL_REQUIRED', 'a person has to approve this request: send it again when that is done', {
      approval_id: approvalId,
      retry_after: 30,
    });
  }

  function refuseDenied(request: EgressRequest): void {
    const { version, policy } = options.policy();
    const { effect, rule, message } = policy.decide({ ...request, now: policyTime(options.now()) });
    if (effect === 'deny')
      throw new RefusedError(403, 'POLICY_DENIED', message ?? 'the policy does not allow this request', { policy: version, rule });
  }
}

/** Without the database there is no decision, and so no request. */
async function asking<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof RefusedError) throw error;
    throw new RefusedError(503, 'STORE_UNAVAILABLE', 'the firewall cannot reach its database, and refuses until it can', {
      cause: (error as Error).message,
    });
  }
}

function refuseMany(error: unknown): never {
  if (!(error instanceof PolicyError) || error.code !== 'TOO_MANY_PENDING') throw error;
  throw new RefusedError(429, 'TOO_MANY_APPROVALS', error.message, { retry_after: 60 });
}

function refuseGone(isGone: () => boolean): void {
  if (isGone()) throw new RefusedError(499, 'CLIENT_GONE', 'the client went away');
}

function errorsOf(decision: Decision): { readonly errors?: Decision['errors'] } {
  return decision.errors.length === 0 ? {} : { errors: decision.errors };
}

/** Without the placeholders, which differ from lease to lease. */
function neutral(path: string, { lease }: Channel): string {
  let text = path;
  for (const [placeholder, secret] of lease.placeholders) text = text.replaceAll(placeholder, `{${secret}}`);
  return text;
}

/** What rules and versions in shadow would have said: recorded, without effect. */
function shadowOf(decision: Decision, beside: ActivePolicy['shadow'], request: EgressRequest): unknown {
  const rules = decision.shadow.length > 0 ? { rules: decision.shadow } : {};
  if (beside === undefined) return decision.shadow.length > 0 ? rules : undefined;
  try {
    const { effect, rule } = beside.policy.decide(request);
    return { ...rules, version: beside.version, effect, rule };
  } catch (error) {
    return { ...rules, version: beside.version, error: (error as Error).message };
  }
}
