/** What an agent does, as one line of a list: which tool, and on what. */
import { clean, clip, clipLine } from './text.ts';

export interface PlanItem {
  readonly title: string;
  readonly state: 'pending' | 'running' | 'done';
}

export interface Step {
  readonly id: string;
  readonly title: string;
  readonly details: string;
  readonly state: 'running' | 'waiting' | 'done' | 'failed';
}

const TITLE = 80;
const DETAILS = 500;

type Input = Readonly<Record<string, unknown>>;

/** The title is one line; the details are the beginning of what the tool was given. Never what it answered. */
export function describeTool(name: string, input: unknown): { title: string; details: string } {
  const fields = isInput(input) ? input : {};
  const subject = SUBJECTS.map((key) => wordsOf(fields[key])).find((words) => words !== '') ?? '';
  const label = LABELS[name.toLowerCase()] ?? name.replace(/^mcp(?:__|:)/, '').replace(/^agent:/, 'Agent: ');
  const title = clipLine(clean(subject === '' ? label : `${label}: ${subject}`), TITLE);
  const details = subject === '' ? (JSON.stringify(input) ?? '') : subject;
  return { title, details: details === '{}' ? '' : clip(clean(details).trim(), DETAILS) };
}

/** Of a tool that keeps the agent's list of what is to do; nothing for every other. */
export function readPlan(name: string, input: unknown): PlanItem[] | undefined {
  if (!PLANS.has(name.toLowerCase()) || !isInput(input)) return undefined;
  const items = [input['todos'], input['plan'], input['items']].find(Array.isArray) as unknown[] | undefined;
  return items?.slice(0, MOST_ITEMS).flatMap((item): PlanItem[] => {
    if (!isInput(item)) return [];
    const title = [item['content'], item['step'], item['title'], item['text']].map(wordsOf).find((words) => words !== '');
    return title === undefined ? [] : [{ title: clipLine(clean(title), TITLE), state: stateOf(item['status']) }];
  });
}

const MOST_ITEMS = 50;
const PLANS = new Set(['todowrite', 'update_plan', 'todo_write', 'todo']);

/** What a call is about, the more telling first. */
const SUBJECTS = ['command', 'cmd', 'file_path', 'path', 'notebook_path', 'query', 'pattern', 'url', 'description', 'prompt'];

const LABELS: Readonly<Record<string, string>> = {
  bash: 'Run',
  shell: 'Run',
  read: 'Read',
  write: 'Write',
  edit: 'Edit',
  multiedit: 'Edit',
  grep: 'Search',
  glob: 'Find files',
  web_search: 'Search the web',
  websearch: 'Search the web',
  webfetch: 'Open',
  task: 'Agent',
};

function stateOf(status: unknown): PlanItem['state'] {
  if (status === 'completed' || status === 'done') return 'done';
  return status === 'in_progress' || status === 'inProgress' ? 'running' : 'pending';
}

function wordsOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return Array.isArray(value) && value.every((each) => typeof each === 'string') ? value.join(' ') : '';
}

function isInput(value: unknown): value is Input {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
