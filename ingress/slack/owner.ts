import type { Raw } from './heard.ts';
import { objectOf, textOf } from './receive/classify.ts';

/** Whose button or modal it is, by its name. Those of nobody here are for workflows. */
export function ownerOf(payload: Raw): 'turn' | 'approval' | 'workflow' {
  const names = [
    ...(Array.isArray(payload['actions']) ? payload['actions'].map((action) => textOf(objectOf(action)?.['action_id'])) : []),
    textOf(objectOf(payload['view'])?.['callback_id']),
  ].filter((name) => name !== undefined);
  if (names.some((name) => name.startsWith('centaur_turn:'))) return 'turn';
  return names.some((name) => name.startsWith('centaur_')) ? 'approval' : 'workflow';
}
