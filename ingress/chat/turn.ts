/**
 * One turn of an agent as people in a chat should see it, made of the events of its thread. Events may come twice and out of
 * their order: they are taken in by their ids, which count without gaps. So it does not matter where the reading broke off:
 * the same events make the same turn.
 */
import type { ContentBlock, ThreadEvent, ThreadEventData, TokenUsage } from '@centaur/sdk';
import { describeProblem, type Problem } from './problem.ts';
import { describeTool, type PlanItem, readPlan, type Step } from './steps.ts';
import { clean } from './text.ts';

export type TurnStatus = 'queued' | 'running' | 'stopping' | 'completed' | 'failed' | 'cancelled' | 'interrupted';

/** Plain data: it can be kept as JSON, and gone on with. */
export interface Turn {
  readonly executionId: string;
  /** For people to name when something went wrong. */
  readonly traceId?: string;
  /** Every event up to it is in here. */
  readonly lastEventId: number;
  /** Those that came before one of their forerunners. */
  readonly early: readonly ThreadEvent[];
  readonly status: TurnStatus;
  /** Why a turn that is not over says nothing, such as that there is no room for a sandbox. */
  readonly waitsFor: 'room' | 'retry' | 'compaction' | null;
  readonly messages: readonly Said[];
  readonly plan: readonly PlanItem[];
  readonly steps: readonly Step[];
  /** Steps before those, of a turn that takes very many. */
  readonly earlierSteps: number;
  readonly approvals: readonly WaitingApproval[];
  readonly problem?: Problem;
  readonly usage: TokenUsage;
  readonly model?: string;
  /** The answer as the platform keeps it, once the turn is over. */
  readonly result?: string;
  /** What people said while it ran. */
  readonly arrived: readonly Arrived[];
}

/** A message of the agent. While it is written nobody knows whether the turn goes on after it. */
export interface Said {
  readonly id: string;
  readonly text: string;
  readonly phase: 'open' | 'commentary' | 'final';
}

export interface WaitingApproval {
  /** Of the harness's question. */
  readonly id: string;
  /** What people decide on; nothing as long as nobody but the policy was asked. */
  readonly approvalId?: string;
  readonly gate?: string;
  readonly expiresAt?: string;
  readonly what: string;
  readonly stepId?: string;
}

export interface Arrived {
  readonly messageId: string;
  readonly userId: string | null;
  /** Taken up by the running turn, or kept for the next one. */
  readonly state: 'queued' | 'steered';
}

/** Steps that are kept: no chat shows more. */
const MOST_STEPS = 200;
/** Events that wait for others. Whoever reads on from `lastEventId` gets those that are dropped here again. */
const MOST_EARLY = 1_000;

/** A turn of which nothing is known yet. `after` is the event after which the reading begins. */
export function startTurn(of: { readonly executionId: string; readonly after: number; readonly traceId?: string }): Turn {
  return {
    executionId: of.executionId,
    ...(of.traceId === undefined ? {} : { traceId: of.traceId }),
    lastEventId: of.after,
    early: [],
    status: 'queued',
    waitsFor: null,
    messages: [],
    plan: [],
    steps: [],
    earlierSteps: 0,
    approvals: [],
    usage: { input: 0, output: 0, cache_read: 0, cache_write: 0 },
    arrived: [],
  };
}

export function takeEvent(turn: Turn, event: ThreadEvent): Turn {
  if (event.id <= turn.lastEventId) return turn;
  if (event.id > turn.lastEventId + 1) return holdEarly(turn, event);
  let now = apply(turn, event);
  for (let next = now.early.find(isNext(now)); next !== undefined; next = now.early.find(isNext(now))) now = apply(now, next);
  const { lastEventId } = now;
  const early = now.early.filter((each) => each.id > lastEventId);
  return early.length === now.early.length ? now : { ...now, early };
}

const isNext =
  (turn: Turn) =>
  (event: ThreadEvent): boolean =>
    event.id === turn.lastEventId + 1;

function holdEarly(turn: Turn, event: ThreadEvent): Turn {
  if (turn.early.some((each) => each.id === event.id)) return turn;
  const early = [...turn.early, event].sort((a, b) => a.id - b.id).slice(0, MOST_EARLY);
  return { ...turn, early };
}

/** Whether nothing more is to be expected of it. */
export function isOver(turn: Turn): boolean {
  return turn.status === 'completed' || turn.status === 'failed' || turn.status === 'cancelled' || turn.status === 'interrupted';
}

/** The answer so far: what is certain to be it, or else what is being written. */
export function answerOf(turn: Turn): string {
  if (turn.result !== undefined && turn.result !== '') return turn.result;
  return joinTexts(turn.messages.filter((message) => message.phase !== 'commentary'));
}

/** All that the agent said, in its order, commentary and answer. It only grows, but for messages that were broken off. */
export function transcriptOf(turn: Turn): string {
  return joinTexts(turn.messages);
}

export function commentaryOf(turn: Turn): readonly string[] {
  return turn.messages.filter((message) => message.phase === 'commentary' && message.text.trim() !== '').map(textSaid);
}

/** Half of a character, or of the end of a line, waits for its other half. */
function textSaid(message: Said): string {
  return clean(message.phase === 'open' ? message.text.replace(/[\ud800-\udbff\r]$/, '') : message.text);
}

function joinTexts(messages: readonly Said[]): string {
  return messages
    .map(textSaid)
    .filter((text) => text.trim() !== '')
    .join('\n\n');
}

// ---- one event

function apply(turn: Turn, event: ThreadEvent): Turn {
  const read = { ...turn, lastEventId: event.id };
  const { data } = event;
  if ('execution_id' in data && data.execution_id !== undefined && data.execution_id !== turn.executionId) return read;
  // of a sub-agent's doing the chat sees the call that runs it; what it may and costs counts
  const isOfSubAgent = 'parent_id' in data && data.parent_id !== undefined;
  if (isOfSubAgent && !HEARD_OF_SUB_AGENTS.has(data.type)) return read;
  return isOver(turn) ? read : { ...read, ...change(turn, data) };
}

const HEARD_OF_SUB_AGENTS: ReadonlySet<string> = new Set(['approval.request', 'approval.pending', 'approval.resolved', 'usage']);

function change(turn: Turn, data: ThreadEventData): Partial<Turn> {
  switch (data.type) {
    case 'execution.state':
      return changeState(turn, data);
    case 'turn.started':
      // once more after its harness died: what was being written does not count
      return { ...awake(turn), messages: turn.messages.filter((message) => message.phase !== 'open') };
    case 'text.delta':
      return { ...awake(turn), messages: appendText(turn.messages, data.message_id, data.text) };
    case 'message':
      return { ...awake(turn), messages: endMessage(turn.messages, data) };
    case 'message.discarded':
      return { messages: turn.messages.filter((message) => message.id !== data.message_id) };
    case 'tool_use':
      return { ...awake(turn), ...beginStep(turn, data) };
    case 'tool_result':
      return {
        ...awake(turn),
        steps: turn.steps.map((step) => (step.id === data.id ? { ...step, state: data.is_error ? 'failed' : 'done' } : step)),
      };
    case 'approval.request':
      return askApproval(turn, data);
    case 'approval.pending':
      return {
        approvals: turn.approvals.map((approval) =>
          approval.id === data.id ? { ...approval, approvalId: data.approval_id, gate: data.gate, expiresAt: data.expires_at } : approval,
        ),
      };
    case 'approval.resolved':
      return resolveApproval(turn, data.id);
    case 'usage':
      return { usage: addUsage(turn.usage, data.usage), ...(data.model === undefined ? {} : { model: data.model }) };
    case 'session':
      return data.model === undefined ? {} : { model: data.model };
    case 'status':
      return waitingFor(turn, data.status);
    case 'error':
      return data.fatal ? { problem: describeProblem(data.class) } : {};
    case 'turn.completed':
      return data.status === 'interrupted' ? { status: 'stopping' } : {};
    case 'message.stored':
      return turn.status === 'queued' || data.role !== 'user' ? {} : { arrived: arrive(turn.arrived, data, 'queued') };
    case 'execution.steered':
      return { arrived: arrive(turn.arrived, data, 'steered') };
    default:
      // thoughts stay hidden, output of tools too; the rest says nothing to people, or is newer than this
      return {};
  }
}

function changeState(turn: Turn, state: Extract<ThreadEventData, { type: 'execution.state' }>): Partial<Turn> {
  const { status, terminal_reason: reason, result_text: result } = state;
  if (status === 'queued') return { status: 'queued' };
  if (status === 'running') return { status: 'running' };
  if (status === 'cancel_requested') return { status: 'stopping' };
  const ended = {
    ...(result === undefined ? {} : { result: clean(result) }),
    messages: turn.messages.map((message): Said => (message.phase === 'open' ? { ...message, phase: 'final' } : message)),
    steps: turn.steps.map((step): Step =>
      step.state === 'running' || step.state === 'waiting' ? { ...step, state: status === 'completed' ? 'done' : 'failed' } : step,
    ),
    approvals: [],
    waitsFor: null,
  };
  if (status === 'completed') return { ...ended, status: 'completed' };
  if (status === 'cancelled') return { ...ended, status: reason === 'released' ? 'interrupted' : 'cancelled' };
  return { ...ended, status: 'failed', problem: turn.problem ?? describeProblem(reason ?? 'unknown') };
}

/** It does something: whatever it waited for is there. */
function awake(turn: Turn): Partial<Turn> {
  return { status: turn.status === 'queued' ? 'running' : turn.status, waitsFor: null };
}

function waitingFor(turn: Turn, status: string): Partial<Turn> {
  if (status === 'queued') return { waitsFor: 'room' };
  if (status === 'retrying') return { waitsFor: 'retry' };
  if (status === 'compacting') return { waitsFor: 'compaction' };
  return { waitsFor: null };
}

function appendText(messages: readonly Said[], id: string, text: string): Said[] {
  if (!messages.some((message) => message.id === id)) return [...messages, { id, text, phase: 'open' }];
  return messages.map((message) => (message.id === id && message.phase === 'open' ? { ...message, text: message.text + text } : message));
}

function endMessage(messages: readonly Said[], data: Extract<ThreadEventData, { type: 'message' }>): Said[] {
  const known = messages.find((message) => message.id === data.message_id);
  const said = textOf(data.content);
  // of one that is very large the event has only the beginning, and the stream had it all
  const text = known !== undefined && known.text.startsWith(said) ? known.text : said;
  const whole: Said = { id: data.message_id, text, phase: data.phase };
  return known === undefined ? [...messages, whole] : messages.map((message) => (message === known ? whole : message));
}

function textOf(content: readonly ContentBlock[]): string {
  return content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('');
}

function beginStep(turn: Turn, data: Extract<ThreadEventData, { type: 'tool_use' }>): Partial<Turn> {
  const plan = readPlan(data.name, data.input);
  if (plan !== undefined) return { plan };
  const step: Step = { id: data.id, ...describeTool(data.name, data.input), state: 'running' };
  const known = turn.steps.some((each) => each.id === data.id);
  const steps = known ? turn.steps.map((each) => (each.id === data.id ? step : each)) : [...turn.steps, step];
  const over = Math.max(0, steps.length - MOST_STEPS);
  return { steps: steps.slice(over), earlierSteps: turn.earlierSteps + over };
}

function askApproval(turn: Turn, data: Extract<ThreadEventData, { type: 'approval.request' }>): Partial<Turn> {
  const stepId = data.tool_use_id;
  const approval: WaitingApproval = {
    id: data.id,
    what: describeTool(data.tool, data.input).title,
    ...(stepId === undefined ? {} : { stepId }),
  };
  return {
    approvals: [...turn.approvals.filter((each) => each.id !== data.id), approval],
    steps: turn.steps.map((step) => (step.id === stepId && step.state === 'running' ? { ...step, state: 'waiting' } : step)),
  };
}

function resolveApproval(turn: Turn, id: string): Partial<Turn> {
  const stepId = turn.approvals.find((approval) => approval.id === id)?.stepId;
  return {
    approvals: turn.approvals.filter((approval) => approval.id !== id),
    steps: turn.steps.map((step) => (step.id === stepId && step.state === 'waiting' ? { ...step, state: 'running' } : step)),
  };
}

function addUsage(sum: TokenUsage, more: TokenUsage): TokenUsage {
  const optional = (key: 'reasoning' | 'cost_usd'): Partial<TokenUsage> =>
    sum[key] === undefined && more[key] === undefined ? {} : { [key]: (sum[key] ?? 0) + (more[key] ?? 0) };
  return {
    input: sum.input + more.input,
    output: sum.output + more.output,
    cache_read: sum.cache_read + more.cache_read,
    cache_write: sum.cache_write + more.cache_write,
    ...optional('reasoning'),
    ...optional('cost_usd'),
  };
}

function arrive(
  arrived: readonly Arrived[],
  data: { readonly message_id: string; readonly user_id: string | null },
  state: Arrived['state'],
): Arrived[] {
  return [...arrived.filter((each) => each.messageId !== data.message_id), { messageId: data.message_id, userId: data.user_id, state }];
}
