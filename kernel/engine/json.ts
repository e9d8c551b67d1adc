import { toJson as jsonOf } from '@centaur/sdk/values';
import { EngineError } from './errors.ts';

/**
 * A value as the JSON text that is stored.
 *
 * @param what names the value in errors, such as `step "fetch"`
 * @throws EngineError NOT_JSON or TOO_LARGE
 */
export function toJson(value: unknown, what: string): string {
  return jsonOf(value, what, EngineError);
}

export function fromJson(text: string | null | undefined): unknown {
  return text === null || text === undefined ? null : (JSON.parse(text) as unknown);
}
