/** Schedules and webhooks as a file declares them, read by the same code that will serve them. */
import type { Schedule } from '@centaur/sdk';
import { describeCron, nextTicks, parseSchedule } from '../../../kernel/engine/cron.ts';
import { parseWebhookSpecs } from '../../../kernel/webhooks/spec.ts';
import type { TriggerKey, WebhookSpec } from '../../../kernel/webhooks/types.ts';
import type { CheckedSchedule, CheckedWebhook, Finding } from './finding.ts';

/** Fire times shown per schedule: enough to see a mistaken weekday or zone. */
const TICKS_SHOWN = 3;

export type Place = Pick<Finding, 'file' | 'line' | 'column'>;

/** A declaration, with the place of each of its items. */
export interface Declaration {
  readonly field: string;
  readonly value: unknown;
  placeOf(item: number): Place;
}

export interface Read<T> {
  readonly items: readonly T[];
  readonly findings: readonly Finding[];
}

export function readSchedules({ field, value, placeOf }: Declaration, now: Date): Read<CheckedSchedule> {
  if (value === null) return { items: [], findings: [] };
  const items: CheckedSchedule[] = [];
  const findings: Finding[] = [];
  const declared = Array.isArray(value) ? value : [value];
  declared.forEach((each: unknown, index) => {
    try {
      const spec = parseSchedule(each, Array.isArray(value) ? `${field}[${index}]` : field);
      items.push(inWords(spec, now));
      findings.push(...unlikeTheOriginal(each as Fields, spec).map((note) => ({ ...placeOf(index), ...note })));
    } catch (error) {
      findings.push({ ...placeOf(index), level: 'error', message: (error as Error).message });
    }
  });
  return { items, findings };
}

export function inWords(spec: Schedule, now: Date): CheckedSchedule {
  const next = spec.enabled === false ? [] : nextTicks(spec, now, TICKS_SHOWN).map((at) => at.toISOString());
  return { spec, words: describeCron(spec), next };
}

type Fields = Readonly<Record<string, unknown>>;

/** Where the same text meant something else in one of the original's generations. */
function unlikeTheOriginal(declared: Fields, spec: Schedule): Pick<Finding, 'level' | 'message' | 'remedy'>[] {
  if (spec.type !== 'cron') return [];
  const notes: Pick<Finding, 'level' | 'message' | 'remedy'>[] = [];
  const weekdays = spec.cron.trim().split(/\s+/)[4] ?? '';
  if (/\d/.test(weekdays.replace(/\/\d+/g, '')) && declared.dialect === undefined) {
    notes.push({
      level: 'note',
      message: `the weekdays "${weekdays}" count from Sunday = 0 or 7, as in Unix: ${describeCron(spec)}`,
      remedy: 'write names such as MON-FRI; or, where Quartz counted from Sunday = 1 and that is meant, add "dialect": "quartz"',
    });
  }
  if (spec.timezone === undefined) {
    notes.push({
      level: 'note',
      message: 'there is no timezone, so it is UTC; the original took America/Los_Angeles',
      remedy: 'add "timezone", such as "America/New_York"',
    });
  }
  return notes;
}

export function readWebhooks({ field, value, placeOf }: Declaration): Read<CheckedWebhook> {
  const { specs, problems } = parseWebhookSpecs(value, field);
  const errors = problems.map(({ field: at, message }): Finding => ({
    ...placeOf(itemOf(at)),
    level: 'error',
    message: `${at}: ${message}`,
  }));
  return {
    items: specs.map((spec) => ({ slug: spec.slug, auth: spec.auth.type, trigger_key: keyInWords(spec.triggerKey) })),
    findings: [...errors, ...specs.flatMap((spec) => doubts(spec, placeOf(indexOf(value, spec.slug))))],
  };
}

function doubts({ slug, auth, triggerKey }: WebhookSpec, place: Place): Finding[] {
  const found: Finding[] = [];
  if (auth.type === 'none') {
    found.push({
      ...place,
      level: 'warning',
      message: `the webhook ${slug} has no auth: whoever knows its address can start the workflow`,
      remedy: 'give it an auth such as {"type": "github", "secret_ref": "GITHUB_WEBHOOK_SECRET"}',
    });
  }
  if (triggerKey.type === 'body') {
    found.push({
      ...place,
      level: 'note',
      message: `the webhook ${slug} has no trigger_key, so a delivery is known again by the hash of its body alone`,
      remedy: 'name the header of the provider’s delivery id: {"type": "header", "header": "X-GitHub-Delivery"}',
    });
  }
  return found;
}

/** The item that a problem is about: 1 of `WEBHOOKS[1].auth.type`. */
function itemOf(field: string): number {
  return Number(/\[(\d+)\]/.exec(field)?.[1] ?? 0);
}

function indexOf(value: unknown, slug: string): number {
  const index = Array.isArray(value) ? value.findIndex((each: { slug?: unknown }) => each?.slug === slug) : 0;
  return Math.max(0, index);
}

function keyInWords(key: TriggerKey): string {
  switch (key.type) {
    case 'header':
      return `header ${key.header}`;
    case 'static':
      return `static "${key.value}"`;
    case 'json_path':
      return key.path;
    case 'body':
      return 'hash of the body';
  }
}
