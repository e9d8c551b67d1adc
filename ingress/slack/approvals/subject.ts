/** What an approval is about, whoever asks: a request, a call of a tool, what a harness wants to do, a workflow's question, a policy. */
import type { ShownApproval } from '@centaur/sdk';
import { visible, visibleJson, visibleLine } from './plain.ts';

export interface Subject {
  /** In a few words, on one line: what would be done. */
  readonly title: string;
  /** What a workflow asks, in its own words. */
  readonly question?: string;
  /** All that is decided on, as exactly as the platform tells it; nothing in it is hidden. */
  readonly body: string;
  readonly bodyName: string;
}

/** It is read, not trusted: of a summary that is not known, all is shown. */
export function subjectOf(approval: ShownApproval): Subject {
  const { summary, kind, policy_diff: diff } = approval;
  const told = (typeof summary === 'object' && summary !== null ? summary : {}) as Readonly<Record<string, unknown>>;
  const args = approval.edited_args ?? approval.args ?? null;
  const tool = textOf(told['tool']);
  const { method, url, policy, text, input } = told;
  if (args !== null) {
    const question = textOf(told['summary']);
    const title = tool ?? (question === undefined ? kind : `A question of ${textOf(told['workflow']) ?? 'a workflow'}`);
    return { title: visibleLine(title), ...asked(question), body: visibleJson(args), bodyName: 'Arguments' };
  }
  if (typeof method === 'string' && typeof url === 'string') {
    const { secrets, bytes } = told;
    const lines = [
      `${method} ${url}`,
      ...(Array.isArray(secrets) && secrets.length > 0 ? [`with ${secrets.join(', ')}`] : []),
      ...(typeof bytes === 'number' ? [`${bytes} bytes of body`] : []),
    ];
    const title = `${method} to ${URL.parse(url)?.host ?? 'a host'}`;
    return { title: visibleLine(title), body: visible(lines.join('\n')), bodyName: 'Request' };
  }
  if (typeof policy === 'string' && typeof text === 'string') {
    const { message, author } = told;
    const head = Object.entries({ author, message }).flatMap(([name, value]) => (typeof value === 'string' ? [`${name}: ${value}`] : []));
    return {
      title: visibleLine(policy),
      body: visible([...head, ...(head.length === 0 ? [] : ['']), diff ?? text].join('\n')),
      bodyName: diff === null ? 'New text' : 'What it changes',
    };
  }
  if (tool !== undefined && typeof input === 'string') return { title: visibleLine(tool), body: inputText(input), bodyName: 'Input' };
  const question = textOf(told['summary']);
  if (question !== undefined) {
    const title = tool ?? `A question of ${textOf(told['workflow']) ?? 'a workflow'}`;
    return { title: visibleLine(title), question: visible(question), body: '', bodyName: '' };
  }
  return { title: visibleLine(kind), body: visibleJson(summary), bodyName: 'Asked' };
}

const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value.trim() !== '' ? value : undefined);
const asked = (question: string | undefined): { readonly question?: string } =>
  question === undefined ? {} : { question: visible(question) };

/** JSON on one line, or the beginning and the end of it where it is long: then as it is. */
function inputText(input: string): string {
  try {
    const read: unknown = JSON.parse(input);
    // nothing is lost by reading it
    return JSON.stringify(read) === input ? visibleJson(read) : visible(input);
  } catch {
    return visible(input);
  }
}
