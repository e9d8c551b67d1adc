/** What a host says about an agent's turn, in every spelling that workflow files use. */
import type { AgentOptions } from '@centaur/sdk';
import { refused } from './fields.ts';

const HARNESSES: Readonly<Record<string, string>> = { 'claude-code': 'claude', claude_code: 'claude', 'pi-mono': 'pi', openai: 'codex' };
const EFFORTS: Readonly<Record<string, AgentOptions['effort']>> = {
  minimal: 'low',
  low: 'low',
  medium: 'medium',
  high: 'high',
  xhigh: 'max',
  max: 'max',
};

/** @throws Error naming the field */
export function agentOptions(args: Readonly<Record<string, unknown>>): {
  readonly options: AgentOptions;
  readonly timeoutMs: number | undefined;
} {
  const told = first(args, 'text', 'prompt');
  const parts = first(args, 'parts', 'content');
  const harness = textOf(args, 'harness', 'harness_type', 'engine');
  const effort = textOf(args, 'effort', 'reasoning_effort', 'reasoning');
  if (effort !== undefined && !Object.hasOwn(EFFORTS, effort))
    throw refused('effort', `expected one of ${Object.keys(EFFORTS).join(', ')}`);
  if (told !== undefined && typeof told !== 'string') throw refused('text', 'expected text');
  if (parts !== undefined && !Array.isArray(parts)) throw refused('parts', 'expected a list of content blocks');
  const timeout = first(args, 'timeout_seconds');
  const duration = first(args, 'max_duration_ms');
  const fields = {
    text: told,
    parts: parts as AgentOptions['parts'],
    threadKey: textOf(args, 'thread_key'),
    harness: harness === undefined || !Object.hasOwn(HARNESSES, harness) ? harness : HARNESSES[harness],
    persona: textOf(args, 'persona', 'persona_id'),
    agentsMd: textOf(args, 'agents_md', 'agents_md_override'),
    model: textOf(args, 'model'),
    effort: effort === undefined ? undefined : EFFORTS[effort],
    userId: textOf(args, 'user_id'),
    delivery: recordOf(args, 'delivery'),
    metadata: recordOf(args, 'metadata'),
  };
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return {
    options: Object.fromEntries(given) as AgentOptions,
    timeoutMs: typeof timeout === 'number' ? timeout * 1000 : typeof duration === 'number' ? duration : undefined,
  };
}

function first(args: Readonly<Record<string, unknown>>, ...names: string[]): unknown {
  for (const name of names) if (args[name] !== undefined && args[name] !== null) return args[name];
  return undefined;
}

function textOf(args: Readonly<Record<string, unknown>>, ...names: string[]): string | undefined {
  const value = first(args, ...names);
  if (value === undefined || typeof value === 'string') return value;
  throw refused(names[0] as string, 'expected text');
}

function recordOf(args: Readonly<Record<string, unknown>>, name: string): Readonly<Record<string, unknown>> | undefined {
  const value = first(args, name);
  if (value === undefined || (typeof value === 'object' && !Array.isArray(value)))
    return value as Readonly<Record<string, unknown>> | undefined;
  throw refused(name, 'expected an object');
}
