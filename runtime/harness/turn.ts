/**
 * The book of one turn, which every codec writes: whatever lines are missing, repeated or out of order, what comes out is
 * well-formed. A turn begins once and completes once, every message and tool call that was opened is closed, ids are not
 * used twice, and nothing is said after `turn.completed` until the next turn begins.
 */
import type { ContentBlock, ErrorClass, HarnessEvent, TurnStatus, Usage } from './events.ts';
import type { CodecOutput } from './codec.ts';
import { classifyText } from './errors.ts';
import { bounded, excerpt } from './json.ts';

type Status = Omit<Extract<HarnessEvent, { type: 'status' }>, 'type' | 'parent_id'>;

export interface Failure {
  readonly message: string;
  readonly class?: ErrorClass | undefined;
  readonly http?: number | undefined;
}

export interface Turn {
  readonly busy: boolean;
  readonly interrupting: boolean;
  begin(): void;
  session(native_id: string, about?: { readonly model?: string | undefined; readonly cwd?: string | undefined }): void;
  openMessage(id: string, parent?: string): void;
  text(id: string, text: string, parent?: string): void;
  thinking(id: string, text: string, parent?: string): void;
  /** The whole message. If it asks for no tool, it is held back until it is known whether the turn goes on after it. */
  message(
    id: string,
    content: readonly ContentBlock[],
    about?: { readonly stop_reason?: string | undefined; readonly parent?: string | undefined },
  ): void;
  discard(id: string, reason: string): void;
  /** What is being streamed, of sub-agents apart, is going to be tried again. */
  discardOpen(reason: string): void;
  toolUse(id: string, name: string, input: unknown, parent?: string): void;
  toolOutput(id: string, text: string): void;
  /** False if there is no such call in this turn. */
  toolResult(
    id: string,
    content: readonly ContentBlock[],
    about: { readonly is_error: boolean; readonly exit_code?: number | undefined },
  ): boolean;
  /** False when it cannot be asked: then it is refused. What somebody decides on has to be what is run. */
  approvalRequest(
    id: string,
    tool: string,
    input: unknown,
    about?: { readonly tool_use_id?: string | undefined; readonly parent?: string | undefined },
  ): boolean;
  approvalResolved(id: string, allowed: boolean): void;
  /** Adds to what the turn has used. */
  addUsage(usage: Usage): void;
  status(status: Status): void;
  error(failure: Failure, grade: 'fatal' | 'passing'): void;
  notice(text: string): void;
  interrupt(): void;
  complete(status: TurnStatus, about?: { readonly failure?: Failure | undefined; readonly result_text?: string | undefined }): void;
  exit(how: { readonly code: number | null; readonly signal: string | null; readonly stderr: string }): void;
  /** What was written since, with the lines that are to be sent. */
  take(send: string[]): CodecOutput;
}

interface OpenMessage {
  readonly parent: string | undefined;
  readonly blocks: ContentBlock[];
  open: boolean;
}

interface Held {
  readonly id: string;
  readonly content: readonly ContentBlock[];
  readonly stop_reason: string | undefined;
}

/** A CLI that writes something else than its protocol is not to fill the store. */
const MOST_NOTICES = 100;
const MOST_KEPT = 50;
const MOST_REMEMBERED = 1000;
const LONGEST_NOTICE = 1000;
const LONGEST_STDERR = 2000;

export function createTurn(): Turn {
  let events: HarnessEvent[] = [];
  let kept: HarnessEvent[] = [];
  let begun = false;
  let busy = false;
  let interrupting = false;
  let messages = new Map<string, OpenMessage>();
  let tools = new Map<string, { readonly parent: string | undefined; open: boolean }>();
  let approvals = new Map<string, { open: boolean }>();
  let held: Held | undefined;
  let usage: Usage | undefined;
  let failed = false;
  let notices = 0;
  const noticed = new Set<string>();
  let lastSession = '';

  const emit = (event: HarnessEvent, parent?: string): void => {
    if (busy) events.push(parent === undefined ? event : { ...event, parent_id: parent });
  };

  /** Before the first turn at once, between turns at the beginning of the next. */
  const emitAtAnyTime = (event: HarnessEvent): void => {
    if (busy || !begun) events.push(event);
    else if (kept.length < MOST_KEPT) kept.push(event);
  };

  const release = (phase: 'commentary' | 'final'): void => {
    if (held === undefined) return;
    const { id, content, stop_reason } = held;
    held = undefined;
    emit({ type: 'message', message_id: id, content, ...(stop_reason === undefined ? {} : { stop_reason }), phase });
  };

  const open = (id: string, parent: string | undefined): OpenMessage => {
    const known = messages.get(id);
    if (known !== undefined) return known;
    if (parent === undefined) release('commentary');
    const message: OpenMessage = { parent, blocks: [], open: true };
    messages.set(id, message);
    emit({ type: 'message.start', message_id: id }, parent);
    return message;
  };

  const close = (id: string, message: OpenMessage, content: readonly ContentBlock[], stop_reason: string | undefined): void => {
    const goesOn = content.some((block) => block.type === 'tool_use');
    if (message.parent !== undefined || goesOn) return closeAsCommentary(id, message, content, stop_reason);
    message.open = false;
    release('commentary');
    held = { id, content, stop_reason };
  };

  const closeAsCommentary = (id: string, message: OpenMessage, content: readonly ContentBlock[], stop_reason?: string): void => {
    message.open = false;
    const why = stop_reason === undefined ? {} : { stop_reason };
    emit({ type: 'message', message_id: id, content, ...why, phase: 'commentary' }, message.parent);
  };

  const delta = (type: 'text' | 'thinking', id: string, piece: string, parent: string | undefined): void => {
    if (!busy || piece === '') return;
    const message = open(id, parent);
    if (!message.open) return;
    append(message.blocks, type, piece);
    emit({ type: `${type}.delta`, message_id: id, text: piece }, message.parent);
  };

  const turn: Turn = {
    get busy() {
      return busy;
    },
    get interrupting() {
      return interrupting;
    },
    begin() {
      if (busy) throw new Error('A turn is running: it ends with turn.completed, and only then may the next be given.');
      begun = true;
      busy = true;
      interrupting = false;
      messages = new Map();
      tools = new Map();
      approvals = new Map();
      held = undefined;
      usage = undefined;
      failed = false;
      notices = 0;
      emit({ type: 'turn.started' });
      events.push(...kept);
      kept = [];
    },
    session(native_id, { model, cwd } = {}) {
      const event = {
        type: 'session',
        native_id,
        ...(model === undefined ? {} : { model }),
        ...(cwd === undefined ? {} : { cwd }),
      } as const;
      const same = JSON.stringify(event);
      if (same === lastSession) return;
      lastSession = same;
      emitAtAnyTime(event);
    },
    openMessage(id, parent) {
      if (busy) open(id, parent);
    },
    text: (id, piece, parent) => delta('text', id, piece, parent),
    thinking: (id, piece, parent) => delta('thinking', id, piece, parent),
    message(id, content, { stop_reason, parent } = {}) {
      if (!busy) return;
      const message = open(id, parent);
      if (message.open) close(id, message, content, stop_reason);
    },
    discard(id, reason) {
      const message = messages.get(id);
      if (message === undefined || !message.open) return;
      message.open = false;
      emit({ type: 'message.discarded', message_id: id, reason }, message.parent);
    },
    discardOpen(reason) {
      for (const [id, message] of messages) if (message.parent === undefined) turn.discard(id, reason);
    },
    toolUse(id, name, input, parent) {
      if (!busy || tools.has(id)) return;
      if (parent === undefined) release('commentary');
      tools.set(id, { parent, open: true });
      emit({ type: 'tool_use', id, name, input: bounded(input) }, parent);
    },
    toolOutput(id, piece) {
      const tool = tools.get(id);
      if (tool?.open === true && piece !== '') emit({ type: 'tool_output.delta', id, text: piece }, tool.parent);
    },
    toolResult(id, content, { is_error, exit_code }) {
      const tool = tools.get(id);
      if (tool === undefined) return false;
      if (!tool.open) return true;
      tool.open = false;
      emit({ type: 'tool_result', id, content, is_error, ...(exit_code === undefined ? {} : { exit_code }) }, tool.parent);
      return true;
    },
    approvalRequest(id, tool, input, { tool_use_id, parent } = {}) {
      if (!busy || approvals.has(id)) return false;
      const whole = input ?? null;
      if (bounded(whole) !== whole) {
        turn.notice(`${tool} was refused: its input is nested too deep to be looked at.`);
        return false;
      }
      approvals.set(id, { open: true });
      emit({ type: 'approval.request', id, ...(tool_use_id === undefined ? {} : { tool_use_id }), tool, input: whole }, parent);
      emit({ type: 'status', status: 'waiting_approval' });
      return true;
    },
    approvalResolved(id, allowed) {
      const approval = approvals.get(id);
      if (approval === undefined || !approval.open) return;
      approval.open = false;
      emit({ type: 'approval.resolved', id, allowed });
    },
    addUsage(more) {
      if (busy) usage = usage === undefined ? more : sum(usage, more);
    },
    status(status) {
      // the model is asked again: the turn goes on
      if (status.status === 'requesting') release('commentary');
      emit({ type: 'status', ...status });
    },
    error({ message, class: given, http }, grade) {
      // a turn fails once; between two turns there is none to fail, and the next is told
      const fatal = grade === 'fatal' && (busy ? !failed : !begun);
      if (busy) failed ||= fatal;
      const event = {
        type: 'error',
        class: given ?? classifyText(message),
        message,
        ...(http === undefined ? {} : { http }),
        fatal,
      } as const;
      emitAtAnyTime(event);
    },
    notice(words) {
      const said = excerpt(words, LONGEST_NOTICE);
      if (noticed.has(said) || notices > MOST_NOTICES) return;
      notices += 1;
      if (noticed.size > MOST_REMEMBERED) noticed.clear();
      noticed.add(said);
      emitAtAnyTime({ type: 'notice', text: notices > MOST_NOTICES ? 'Further notices of this turn are left out.' : said });
    },
    interrupt() {
      if (busy) interrupting = true;
    },
    complete(status, { failure, result_text } = {}) {
      if (!busy) return;
      for (const [id, message] of messages) {
        if (!message.open) continue;
        if (message.blocks.length === 0) turn.discard(id, status);
        // begun before the answer that is held, and never finished: it is not the answer
        else if (held !== undefined) closeAsCommentary(id, message, message.blocks);
        else close(id, message, message.blocks, status === 'completed' ? undefined : status);
      }
      for (const id of approvals.keys()) turn.approvalResolved(id, false);
      const answer = held?.content;
      release(status === 'completed' ? 'final' : 'commentary');
      const unheard = status === 'interrupted' ? 'interrupted' : 'The result of this call did not arrive.';
      for (const id of tools.keys()) turn.toolResult(id, [{ type: 'text', text: unheard }], { is_error: true });
      if (usage !== undefined && Object.values(usage).some((amount) => amount > 0)) emit({ type: 'usage', usage });
      const why = failure ?? { message: 'The turn failed, and the agent did not say why.', class: 'harness' };
      const ill = status === 'failed' || status === 'crashed';
      if (ill && !failed) turn.error(why, 'fatal');
      emit({
        type: 'turn.completed',
        status,
        result_text: status === 'completed' ? (textOf(answer) ?? result_text ?? '') : '',
        ...(ill ? { error: why.message } : {}),
      });
      busy = false;
    },
    exit({ code, signal, stderr }) {
      const how = signal === null ? `with code ${code ?? 'unknown'}` : `by ${signal}`;
      const words = stderr.trim().slice(-LONGEST_STDERR);
      const message = `The agent process ended ${how} in the middle of the turn.${words === '' ? '' : `\n${words}`}`;
      turn.complete(interrupting ? 'interrupted' : 'crashed', { failure: { message, class: 'harness' } });
    },
    take(send) {
      const output = { events, send: send.splice(0) };
      events = [];
      return output;
    },
  };
  return turn;
}

function append(blocks: ContentBlock[], type: 'text' | 'thinking', piece: string): void {
  const last = blocks.at(-1);
  if (type === 'text') {
    if (last?.type === 'text') blocks[blocks.length - 1] = { type, text: last.text + piece };
    else blocks.push({ type, text: piece });
  } else if (last?.type === 'thinking') blocks[blocks.length - 1] = { type, thinking: last.thinking + piece };
  else blocks.push({ type, thinking: piece });
}

/** The text of a message, if it has any. */
function textOf(content: readonly ContentBlock[] | undefined): string | undefined {
  const texts = content?.flatMap((block) => (block.type === 'text' && block.text !== '' ? [block.text] : [])) ?? [];
  return texts.length === 0 ? undefined : texts.join('\n\n');
}

function sum(a: Usage, b: Usage): Usage {
  const reasoning = a.reasoning === undefined && b.reasoning === undefined ? undefined : (a.reasoning ?? 0) + (b.reasoning ?? 0);
  const cost_usd = a.cost_usd === undefined && b.cost_usd === undefined ? undefined : (a.cost_usd ?? 0) + (b.cost_usd ?? 0);
  return {
    input: a.input + b.input,
    output: a.output + b.output,
    cache_read: a.cache_read + b.cache_read,
    cache_write: a.cache_write + b.cache_write,
    ...(reasoning === undefined ? {} : { reasoning }),
    ...(cost_usd === undefined ? {} : { cost_usd }),
  };
}
