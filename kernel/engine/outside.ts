/** What a run asks the platform for beside agents: a tool, or a post to a chat. Each is a step, made under a key that repeats share. */
import { createHash } from 'node:crypto';
import type { PostToSlackOptions, SlackMessage, SlackPost, ToldCall, WorkflowContext } from '@centaur/sdk';
import { EngineError } from './errors.ts';

export interface OutsideCaller {
  readonly runId: string;
  readonly workflow: string;
  readonly traceId: string | null;
  /** Name of the step that asks. */
  readonly step: string;
  /** Of the run. */
  readonly attempt: number;
  /** The same for every repeat of one call: a UUID. */
  readonly key: string;
}

/** Whoever serves them; what is left out is refused, and says so. A call that throws a `WaitsForApprovalError` is made again once it is decided. */
export interface Outside {
  callTool?(
    call: { readonly tool: string; readonly method: string; readonly args: unknown },
    caller: OutsideCaller,
  ): Promise<ToldCall<unknown>>;
  postToSlack?(post: PostToSlackOptions & { readonly channel: string; readonly text: string }, caller: OutsideCaller): Promise<SlackPost>;
  updateSlack?(message: SlackMessage, caller: OutsideCaller): Promise<SlackPost>;
}

type OutsideCalls = Pick<WorkflowContext, 'callTool' | 'postToSlack' | 'updateSlack'>;

export function outsideCalls(run: Omit<OutsideCaller, 'key' | 'step'>, step: WorkflowContext['step'], outside: Outside): OutsideCalls {
  const counts = new Map<string, number>();

  function ask<T>(name: string, what: string, call: ((caller: OutsideCaller) => Promise<T>) | undefined): Promise<T> {
    const n = (counts.get(name) ?? 0) + 1;
    counts.set(name, n);
    const caller: OutsideCaller = { ...run, step: name, key: keyOf(`${run.runId}:${name}:${n}`) };
    return step(name, () => {
      if (call === undefined) throw new EngineError('INVALID_REQUEST', `"${name}": ${what}`);
      return call(caller);
    }) as Promise<T>;
  }

  return {
    callTool: (
      tool: string,
      method: string,
      args: unknown = {},
      { name = `tool_${tool}_${method}`, edits }: { readonly name?: string; readonly edits?: 'tell' } = {},
    ) =>
      ask(
        name,
        'this process has no tools: WORKFLOW_TOOL_API_URL says where they are',
        outside.callTool &&
          (async (caller) => {
            const { result, edited } = await outside.callTool!({ tool, method, args }, caller);
            return edits === 'tell' ? { result: result ?? null, edited } : result;
          }),
      ),
    postToSlack: (channel, text, { name = `post_slack_${channel}`, ...options } = {}) =>
      ask(name, NO_SLACK, outside.postToSlack && ((caller) => outside.postToSlack!({ ...options, channel, text }, caller))),
    updateSlack: (message, { name = `update_slack_${message.channel}` } = {}) =>
      ask(name, NO_SLACK, outside.updateSlack && ((caller) => outside.updateSlack!(message, caller))),
  };
}

const NO_SLACK = 'this process posts to no Slack';

function keyOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
