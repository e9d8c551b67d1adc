/** From rows to spans: each row says when something began and ended; what it is part of is told by ids, and where nothing tells, by time. */
import { spanIdOf } from '../store/index.ts';
import type { ApprovalRow, EntryRow, Rows, RunRow, Span, SpanKind, SpanStatus, StepRow, TurnRow } from './types.ts';

/** The workflow of agents' turns; what waits for it is its agent's dispatch. */
const TURN_WORKFLOW = 'centaur.turn';
/** Shorter ones are no waiting. */
const QUEUE_MS = 1;

type Given = Pick<Span, 'id' | 'kind' | 'name' | 'start' | 'end' | 'status'> & Partial<Span>;

function span(given: Given): Span {
  return {
    parent: null,
    error: null,
    attempt: 1,
    atMost: false,
    auditIds: [],
    runId: null,
    threadKey: null,
    actor: null,
    attributes: {},
    ...given,
    // clocks of two machines differ by a little
    end: given.end === null ? null : Math.max(given.end, given.start),
  };
}

/** Of the runs among the rows: themselves, their steps, and the turns that they are. */
export function runSpans(rows: Omit<Rows, 'entries' | 'approvals'>): Span[] {
  const steps = Map.groupBy(rows.steps, (step) => step.runId);
  const attempts = Map.groupBy(rows.attempts, (attempt) => attempt.runId);
  const takeovers = Map.groupBy(rows.takeovers, (taken) => taken.runId);
  const webhooks = new Map(rows.webhooks.map((webhook) => [webhook.runId, webhook]));
  const turns = new Map(rows.turns.flatMap((turn) => (turn.runId === null ? [] : [[turn.runId, turn] as const])));
  const starters = new Map(rows.steps.flatMap((step) => (step.kind === 'c' && step.other !== null ? [[step.other, step] as const] : [])));
  const found: Span[] = [];
  for (const run of rows.runs) {
    const id = spanIdOf('run', run.runId);
    const webhook = webhooks.get(run.runId);
    const turn = turns.get(run.runId);
    const taken = takeovers.get(run.runId) ?? [];
    const own = steps.get(run.runId) ?? [];
    const inRun = { runId: run.runId, parent: id };
    found.push(
      span({
        id,
        parent: parentOfRun(run, turn, starters, steps),
        kind: 'run',
        name: run.workflow,
        runId: run.runId,
        start: Math.min(webhook?.receivedAt ?? run.createdAt, run.createdAt),
        end: run.endedAt,
        status: RUN_STATUS[run.status] ?? 'open',
        error: run.error,
        attempt: run.attempt,
        attributes: {
          workflow: run.workflow,
          queue: run.queue,
          ...(taken.length === 0 ? {} : { takeovers: taken.length }),
          ...(run.status === 'x' ? { stuck: true } : {}),
        },
      }),
    );
    if (webhook !== undefined) {
      found.push(
        span({
          ...inRun,
          id: spanIdOf('webhook', run.runId),
          kind: 'ingress.webhook',
          name: webhook.slug,
          start: webhook.receivedAt,
          end: run.createdAt,
          status: 'ok',
          attributes: {
            ...(webhook.provider === null ? {} : { provider: webhook.provider }),
            ...(webhook.event === null ? {} : { event: webhook.event }),
          },
        }),
      );
    }
    if (run.workflow !== TURN_WORKFLOW && (run.startedAt === null || run.startedAt - run.createdAt > QUEUE_MS)) {
      found.push(
        span({
          ...inRun,
          id: spanIdOf('queue', run.runId),
          kind: 'queue.wait',
          name: run.queue,
          start: run.createdAt,
          end: run.startedAt ?? run.endedAt,
          status: run.startedAt === null && run.endedAt === null ? 'open' : 'ok',
        }),
      );
    }
    for (const attempt of attempts.get(run.runId) ?? []) {
      found.push(
        span({
          ...inRun,
          id: spanIdOf('attempt', `${run.runId}:${attempt.attempt}`),
          kind: 'run.attempt',
          name: `attempt ${attempt.attempt}`,
          start: attempt.startedAt ?? attempt.endedAt,
          end: attempt.endedAt,
          status: 'error',
          error: attempt.error,
          attempt: attempt.attempt,
        }),
      );
    }
    for (const [i, { takenAt }] of taken.entries()) {
      found.push(
        span({
          ...inRun,
          id: spanIdOf('takeover', `${run.runId}:${i}`),
          kind: 'run.takeover',
          name: 'worker died',
          start: takenAt,
          end: takenAt,
          status: 'error',
          error: 'WORKER_DIED',
          attempt: i + 2,
        }),
      );
    }
    found.push(...stepSpans(run, own, taken));
    if (turn !== undefined) found.push(...turnSpans(run, turn, own));
  }
  return found;
}

const RUN_STATUS: Readonly<Record<string, SpanStatus>> = { c: 'ok', f: 'error', n: 'cancelled' };

/** Of a child the step that started it; of a turn the step that asked for it. */
function parentOfRun(
  run: RunRow,
  turn: TurnRow | undefined,
  starters: ReadonlyMap<string, StepRow>,
  steps: ReadonlyMap<string, readonly StepRow[]>,
): string | null {
  if (turn?.askedBy != null) {
    const name = turn.executeId.startsWith(`wf:${turn.askedBy}:`) ? turn.executeId.slice(`wf:${turn.askedBy}:`.length) : '';
    const asker = stepAt(steps.get(turn.askedBy) ?? [], turn.createdAt, name.replace(/#\d+$/, ''));
    return asker === undefined ? spanIdOf('run', turn.askedBy) : stepId(asker);
  }
  const starter = starters.get(run.runId);
  if (starter !== undefined) return stepId(starter);
  return run.parent === null ? null : spanIdOf('run', run.parent);
}

const STEP_KIND: Readonly<Record<string, SpanKind>> = {
  s: 'step',
  t: 'transaction',
  z: 'sleep',
  e: 'event.wait',
  c: 'run.start',
  w: 'run.wait',
};
const STEP_STATUS: Readonly<Record<string, SpanStatus>> = { o: 'ok', e: 'error', t: 'error' };

const stepId = ({ runId, seq }: Pick<StepRow, 'runId' | 'seq'>): string => spanIdOf('step', `${runId}:${seq}`);

export function stepSpans(run: RunRow, steps: readonly StepRow[], takeovers: readonly { readonly takenAt: number }[]): Span[] {
  const starts = steps.map((step) => step.startedAt).toSorted((a, b) => a - b);
  const last = steps.findLast((step) => step.status !== 'p')?.seq ?? -1;
  return steps.flatMap((step) => {
    const kind = STEP_KIND[step.kind];
    if (kind === undefined) return [];
    // the end of a lone sleep is not stored: it shows once the run has gone past it
    const slept = step.kind === 'z' && step.status === 'p' && (run.endedAt !== null || step.seq < last);
    const end = slept ? step.wakeAt : step.endedAt;
    const id = stepId(step);
    const own = span({
      id,
      parent: spanIdOf('run', run.runId),
      kind,
      name: step.name,
      runId: run.runId,
      start: step.startedAt,
      end,
      status: slept ? 'ok' : (STEP_STATUS[step.status] ?? (run.endedAt === null ? 'open' : 'cancelled')),
      error: step.status === 't' ? 'TIMED_OUT' : step.error,
      attempt: step.attempts,
      // what was done again because its worker had died is a step that began after the takeover
      attributes: takeovers.some(({ takenAt }) => step.startedAt >= takenAt) ? { seq: step.seq, after_takeover: true } : { seq: step.seq },
    });
    if (end === null || (step.kind !== 's' && step.kind !== 't')) return [own];
    // the commit has no time of its own: it was over when the handler made its next call, or ended
    const next = starts[firstAtLeast(starts, end)] ?? run.endedAt;
    if (next === null || next === undefined) return [own];
    const checkpoint = span({
      id: spanIdOf('checkpoint', `${run.runId}:${step.seq}`),
      parent: spanIdOf('run', run.runId),
      kind: 'state.checkpoint',
      name: `#${step.seq + 1}`,
      runId: run.runId,
      start: end,
      end: next,
      status: 'ok',
      atMost: true,
    });
    return [own, checkpoint];
  });
}

function firstAtLeast(sorted: readonly number[], least: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

const TURN_STATUS: Readonly<Record<string, SpanStatus>> = { completed: 'ok', failed_permanent: 'error', cancelled: 'cancelled' };

function turnSpans(run: RunRow, turn: TurnRow, steps: readonly StepRow[]): Span[] {
  const of = { threadKey: turn.threadKey, runId: run.runId };
  const id = spanIdOf('turn', turn.executionId);
  const inRun = spanIdOf('run', run.runId);
  const step = steps.find(({ kind }) => kind === 's');
  const found = [
    span({
      ...of,
      id: spanIdOf('dispatch', turn.executionId),
      parent: inRun,
      kind: 'agent.dispatch',
      name: turn.harness,
      start: turn.createdAt,
      end: turn.startedAt ?? turn.completedAt,
      status: turn.startedAt === null && turn.completedAt === null ? 'open' : 'ok',
    }),
  ];
  if (turn.startedAt !== null) {
    found.push(
      span({
        ...of,
        id,
        parent: step === undefined ? inRun : stepId(step),
        kind: 'agent.turn',
        name: turn.harness,
        start: turn.startedAt,
        end: turn.completedAt,
        status: TURN_STATUS[turn.status] ?? 'open',
        error: turn.status === 'failed_permanent' ? turn.reason : null,
        attributes: {
          harness: turn.harness,
          execution: turn.executionId,
          ...(turn.model === null ? {} : { model: turn.model }),
          ...(turn.inputTokens === null ? {} : { input_tokens: turn.inputTokens }),
          ...(turn.outputTokens === null ? {} : { output_tokens: turn.outputTokens }),
        },
      }),
    );
  }
  if (turn.deliveryFrom !== null) {
    found.push(
      span({
        ...of,
        id: spanIdOf('delivery', turn.executionId),
        parent: inRun,
        kind: 'delivery',
        name: turn.deliveryPlatform ?? '',
        start: turn.deliveryFrom,
        end: turn.deliveredAt,
        status: turn.deliveredAt !== null ? 'ok' : turn.deliveryState === 'dead_letter' ? 'error' : 'open',
        attempt: Math.max(1, turn.deliveryAttempts ?? 1),
      }),
    );
  }
  return found;
}

/** A step began no later than what was done in it, whenever its host told of it; and what came before it had ended by then. */
export function stretched(spans: readonly Span[]): Span[] {
  const first = new Map<string, number>();
  for (const { parent, start } of spans) if (parent !== null) first.set(parent, Math.min(start, first.get(parent) ?? start));
  const moved = spans.map((each) =>
    each.kind === 'step' && (first.get(each.id) ?? each.start) < each.start ? { ...each, start: first.get(each.id) as number } : each,
  );
  const changed = moved.filter((each, i) => each !== spans[i]);
  const starts = Map.groupBy(changed, ({ parent }) => parent);
  const sorted = new Map([...starts].map(([parent, of]) => [parent, of.map(({ start }) => start).toSorted((a, b) => a - b)]));
  return moved.map((each) => {
    const next = sorted.get(each.parent);
    if (each.kind !== 'state.checkpoint' || next === undefined || each.end === null) return each;
    return { ...each, end: Math.min(each.end, next[firstAtLeast(next, each.start)] ?? each.end) };
  });
}

// ---- what the audit log tells

/** Where entries belong: as far as it is known. */
export interface Around {
  readonly steps: readonly StepRow[];
  readonly turns: readonly TurnRow[];
  /** Runs that have a span. */
  readonly runs: ReadonlySet<string>;
}

/** Entries with their outcomes; an intent whose outcome is not among them is open. */
export function entrySpans(entries: readonly EntryRow[], approvals: readonly ApprovalRow[], around: Around): Span[] {
  const outcomes = new Map(entries.flatMap((entry) => (entry.intentId === null ? [] : [[entry.intentId, entry] as const])));
  const steps = Map.groupBy(around.steps, (step) => step.runId);
  const turns = Map.groupBy(around.turns, (turn) => turn.threadKey);
  const known = new Map(approvals.map((approval) => [approval.approvalId, approval]));
  const shown = new Set<string>();
  const found: Span[] = [];

  function parentOf({ runId, threadKey, at, details }: EntryRow): string | null {
    if (details.caused_by != null) return spanIdOf('made', details.caused_by);
    if (threadKey !== null) {
      const turn = turns.get(threadKey)?.findLast(({ startedAt }) => startedAt !== null && startedAt <= at);
      if (turn !== undefined) return spanIdOf('turn', turn.executionId);
    }
    if (runId === null) return null;
    const step = stepAt(steps.get(runId) ?? [], at, details.step ?? '');
    if (step !== undefined) return stepId(step);
    return around.runs.has(runId) ? spanIdOf('run', runId) : null;
  }

  function approvalSpan(id: string | null | undefined, parent: string | null, at: Pick<EntryRow, 'runId' | 'threadKey'>): Span[] {
    const approval = id == null ? undefined : known.get(id);
    if (approval === undefined || shown.has(approval.approvalId)) return [];
    shown.add(approval.approvalId);
    return [toApproval(approval, parent, at)];
  }

  for (const entry of entries) {
    const outcome = outcomes.get(entry.auditId);
    const parent = parentOf(entry);
    const approved = approvalSpan(
      entry.details.approval_id,
      entry.action === 'tool.call'
        ? spanIdOf('call', entry.auditId)
        : entry.action === 'egress.intent'
          ? spanIdOf('egress', entry.auditId)
          : parent,
      entry,
    );
    const own = ownSpans(entry, outcome, parent, approved[0]);
    found.push(...own, ...approved);
  }
  // asked, and not used by anything
  for (const entry of entries) {
    if (entry.action !== 'approval.request' && entry.action !== 'approval.decide') continue;
    found.push(...approvalSpan(entry.resource?.slice('approval:'.length), parentOf(entry), entry));
  }
  return found;
}

function ownSpans(entry: EntryRow, outcome: EntryRow | undefined, parent: string | null, approval: Span | undefined): Span[] {
  switch (entry.action) {
    case 'tool.call':
      return callSpans(entry, outcome, parent, approval);
    case 'egress.intent':
      return egressSpans(entry, outcome, parent, approval);
    case 'tool.deny':
    case 'egress.deny':
      return [
        span({
          ...commonOf(entry, parent),
          id: spanIdOf('deny', entry.auditId),
          kind: entry.action === 'tool.deny' ? 'tool.call' : 'egress',
          name: nameOf(entry),
          start: entry.at - (entry.details.policy_ms ?? 0),
          end: entry.at,
          status: 'denied',
          error: entry.details.code ?? 'POLICY_DENIED',
          attributes: factsOf(entry),
        }),
      ];
    case 'lease.create':
      return [
        span({
          ...commonOf(entry, parent),
          id: spanIdOf('lease', entry.auditId),
          kind: 'secrets.lease',
          name: 'lease',
          start: entry.at - (entry.details.ms ?? 0),
          end: entry.at,
          status: 'ok',
          attributes: { secrets: entry.details.secrets ?? 0 },
        }),
      ];
    default:
      return [];
  }
}

/**
 * A call: decided on, written down, handed to the process, made. An intent's entry is of the moment between the first two, an outcome's
 * of the end; what they measured says the rest.
 */
function callSpans(entry: EntryRow, outcome: EntryRow | undefined, parent: string | null, approval: Span | undefined): Span[] {
  const { details, at } = entry;
  const told = outcome?.details;
  const common = commonOf(entry, spanIdOf('call', entry.auditId));
  const decided = at - (details.policy_ms ?? 0);
  const recorded = at + (told?.audit_ms ?? 0);
  const handed = recorded + (told?.dispatch_ms ?? 0);
  const made = outcome === undefined ? null : Math.max(handed, outcome.at);
  const status: SpanStatus = outcome === undefined ? 'open' : told?.ok === true ? 'ok' : 'error';
  const error = told?.ok === false ? (told.code ?? null) : null;
  return [
    span({
      ...commonOf(entry, parent, outcome),
      id: spanIdOf('call', entry.auditId),
      kind: 'tool.call',
      name: nameOf(entry),
      start: Math.min(approval?.start ?? decided, decided),
      end: made,
      status,
      error,
      attributes: factsOf(entry),
    }),
    ...policySpan(entry, common, decided),
    ...(outcome === undefined ? [] : [auditSpan(entry, common, recorded), ...dispatchSpan(entry, common, recorded, handed)]),
    span({
      ...common,
      id: spanIdOf('made', entry.auditId),
      kind: 'execute_tool',
      name: nameOf(entry),
      start: handed,
      end: made,
      status,
      error,
      attributes: details.call_id == null ? {} : { call: details.call_id },
    }),
  ];
}

function egressSpans(entry: EntryRow, outcome: EntryRow | undefined, parent: string | null, approval: Span | undefined): Span[] {
  const { details, at } = entry;
  const told = outcome?.details;
  const id = spanIdOf('egress', entry.auditId);
  const common = commonOf(entry, id);
  const decided = at - (details.policy_ms ?? 0);
  const recorded = at + (told?.audit_ms ?? 0);
  const filled = recorded + (told?.lease_ms ?? 0);
  const end = outcome === undefined ? null : Math.max(filled, outcome.at);
  const refused = told?.error != null;
  const status: SpanStatus = outcome === undefined ? 'open' : refused || (told?.status ?? 0) >= 500 ? 'error' : 'ok';
  const code = typeof told?.status === 'number' ? { status: told.status } : {};
  return [
    span({
      ...commonOf(entry, parent, outcome),
      id,
      kind: 'egress',
      name: nameOf(entry),
      start: Math.min(approval?.start ?? decided, decided, end === null || told?.ms == null ? decided : end - told.ms),
      end,
      status,
      error: told?.error ?? null,
      attributes: { ...factsOf(entry), ...code, ...(typeof told?.bytes === 'number' ? { bytes: told.bytes } : {}) },
    }),
    ...policySpan(entry, common, decided),
    ...(outcome === undefined ? [] : [auditSpan(entry, common, recorded)]),
    ...(outcome === undefined || (details.secrets ?? 0) === 0
      ? []
      : [
          span({
            ...common,
            id: spanIdOf('filled', entry.auditId),
            kind: 'secrets.lease',
            name: `${details.secrets} used`,
            start: recorded,
            end: filled,
            status: 'ok',
            attributes: { secrets: details.secrets ?? 0 },
          }),
        ]),
    span({
      ...common,
      id: spanIdOf('upstream', entry.auditId),
      kind: 'egress.upstream',
      name: nameOf(entry),
      start: filled,
      end,
      status,
      error: told?.error ?? null,
      attributes: code,
    }),
  ];
}

function policySpan(entry: EntryRow, common: ReturnType<typeof commonOf>, decided: number): Span[] {
  const { policy_ms: took, rule } = entry.details;
  if (took == null) return [];
  return [
    span({
      ...common,
      id: spanIdOf('policy', entry.auditId),
      kind: 'policy.eval',
      name: rule ?? 'default',
      start: decided,
      end: entry.at,
      status: 'ok',
      attributes: { decision: entry.decision ?? 'allow' },
    }),
  ];
}

function auditSpan(entry: EntryRow, common: ReturnType<typeof commonOf>, recorded: number): Span {
  return span({
    ...common,
    id: spanIdOf('audit', entry.auditId),
    kind: 'audit.log',
    name: entry.action,
    start: entry.at,
    end: recorded,
    status: 'ok',
    auditIds: [entry.auditId],
  });
}

function dispatchSpan(entry: EntryRow, common: ReturnType<typeof commonOf>, recorded: number, handed: number): Span[] {
  if (handed <= recorded) return [];
  const id = spanIdOf('handed', entry.auditId);
  return [
    span({ ...common, id, kind: 'agent.dispatch', name: nameOf(entry).split('.', 1)[0] ?? '', start: recorded, end: handed, status: 'ok' }),
  ];
}

const APPROVAL_STATUS: Readonly<Record<string, SpanStatus>> = { pending: 'open', denied: 'denied', expired: 'error' };

function toApproval(approval: ApprovalRow, parent: string | null, at: Pick<EntryRow, 'runId' | 'threadKey'>): Span {
  const { auditId, decidedAuditId } = approval;
  return span({
    id: spanIdOf('approval', approval.approvalId),
    parent,
    kind: 'approval.wait',
    name: approval.gate,
    start: approval.createdAt,
    end: approval.decidedAt ?? (approval.state === 'expired' ? approval.expiresAt : null),
    status: APPROVAL_STATUS[approval.state] ?? 'ok',
    error: approval.state === 'expired' ? 'EXPIRED' : null,
    auditIds: [auditId, ...(decidedAuditId === null ? [] : [decidedAuditId])],
    runId: at.runId,
    threadKey: at.threadKey,
    actor: approval.principal,
    attributes: { approval: approval.approvalId },
  });
}

function commonOf(entry: EntryRow, parent: string | null, outcome?: EntryRow) {
  return {
    parent,
    auditIds: [entry.auditId, ...(outcome === undefined ? [] : [outcome.auditId])],
    runId: entry.runId,
    threadKey: entry.threadKey,
    actor: entry.actor,
  };
}

/** `shop.create` of a tool, `POST api.example.com` of a request. */
function nameOf({ resource, details, action }: EntryRow): string {
  const what = (resource ?? '').replace(/^tool:|^[a-z]+:\/\//, '');
  return action.startsWith('egress.') && details.method != null ? `${details.method} ${what}` : what || action;
}

function factsOf({ details, leaseId, action }: EntryRow): Record<string, string | number | boolean> {
  return {
    ...(details.risk == null ? {} : { risk: details.risk }),
    ...(details.rule == null ? {} : { rule: details.rule }),
    ...(details.call_id == null ? {} : { call: details.call_id }),
    ...(action.startsWith('egress.') && details.method != null ? { method: details.method } : {}),
    ...(leaseId === null ? {} : { lease: leaseId }),
  };
}

const isWork = ({ kind }: StepRow): boolean => kind === 's' || kind === 't';

/** The step that was under way then; of the name that is given, if one is. */
export function stepAt(steps: readonly StepRow[], at: number, name: string): StepRow | undefined {
  const named = name === '' ? steps : steps.filter((step) => step.name === name);
  const under = named.filter((step) => step.startedAt <= at + 1 && (step.endedAt === null || step.endedAt >= at - 1));
  if (under.length > 0) return under.at(-1);
  // a host tells of a step a little after its function began, or when that has returned
  const next = named.find((step) => isWork(step) && step.startedAt > at);
  // of a step that was made again after a crash, the row tells of the last time
  return next ?? (name === '' ? undefined : named.at(0));
}
