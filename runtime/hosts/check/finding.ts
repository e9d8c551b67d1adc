/** What a check says. */
import type { Schedule } from '@centaur/sdk';

/** It will not work; it may do something twice or not what is meant; worth knowing. */
export type Level = 'error' | 'warning' | 'note';

export interface Finding {
  readonly file: string;
  /** From 1. */
  readonly line?: number;
  /** From 1, in characters. */
  readonly column?: number;
  readonly level: Level;
  readonly message: string;
  readonly remedy?: string;
}

export interface CheckedWorkflow {
  readonly name: string;
  readonly language: 'node' | 'python';
  readonly file: string;
  /** Of the code; null where only running the file would tell it. */
  readonly version: string | null;
  readonly schedules: readonly CheckedSchedule[];
  readonly webhooks: readonly CheckedWebhook[];
}

export interface CheckedSchedule {
  readonly spec: Schedule;
  readonly words: string;
  /** The times at which it ticks next, ISO 8601. */
  readonly next: readonly string[];
}

export interface CheckedWebhook {
  readonly slug: string;
  readonly auth: string;
  readonly trigger_key: string;
}

/** What both languages' checks give. */
export interface Checked {
  readonly workflows: readonly CheckedWorkflow[];
  readonly findings: readonly Finding[];
}
