import type { Raw } from './heard.ts';
import { objectOf, objectsOf, textOf } from './shapes.ts';

/** Whose button or modal it is, by its name. Those of nobody here are for workflows. */
export function ownerOf(payload: Raw): 'turn' | 'approval' | 'workflow' {
  const names = [...objectsOf(payload['actions']).map((action) => action['action_id']), objectOf(payload['view'])?.['callback_id']].map(
    textOf,
  );
  if (names.some((name) => name.startsWith('centaur_turn:'))) return 'turn';
  return names.some((name) => name.startsWith('centaur_')) ? 'approval' : 'workflow';
}
