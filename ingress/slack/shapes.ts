/** Reading what Slack sends: each is what it should be, or nothing. */
import type { Raw } from './heard.ts';

/** Of any list: Slack has fewer. */
const MOST = 500;

export function objectOf(value: unknown): Raw | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Raw) : undefined;
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value.slice(0, MOST) : [];
}

export function objectsOf(value: unknown): readonly Raw[] {
  return listOf(value)
    .map(objectOf)
    .filter((each) => each !== undefined);
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Of a user, a channel, a team, a file. */
export function idOf(value: unknown): string | undefined {
  return typeof value === 'string' && /^[A-Z][A-Z0-9]{1,30}$/.test(value) ? value : undefined;
}

/** Of a message. */
export function tsOf(value: unknown): string | undefined {
  return typeof value === 'string' && /^\d{1,12}\.\d{1,9}$/.test(value) ? value : undefined;
}

/** What somebody or something is called. */
export function nameOf(value: unknown): string | undefined {
  return typeof value === 'string' && value.trim() !== '' ? value.trim().slice(0, 200) : undefined;
}
