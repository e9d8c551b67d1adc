/** The demo harness, for whoever mounts it into sandboxes. */
import { readPlain } from '../../plain.ts';

export function readDemoProgram(): string {
  return readPlain(new URL('tools.ts', import.meta.url), new URL('program.ts', import.meta.url));
}
