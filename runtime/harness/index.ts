/**
 * Harnesses: the agent CLIs that run in sandboxes, behind one interface. A codec translates what a CLI writes into the
 * normalised events of a turn, and calls into what it reads; a launcher says how the CLI is started and what of its session
 * is worth keeping. Whatever a CLI writes, its codec never throws, a turn that began completes exactly once, and every
 * message and tool call in it is closed. Codecs and launchers start no process, touch no file, read no clock and hold no key,
 * so that whoever takes a turn over replays its journal into a new codec and goes on.
 *
 * The turn driver takes `harnesses[kind]`: `launch.spec` to start the CLI, `createCodec` to talk to it through lines that
 * `createLineSplitter` cuts, `coalesceDeltas` and `capToolResult` before it stores, `launch.sessionFiles` to keep a session.
 * Of the demo harness, which is ours, `readDemoProgram` gives the program that sandboxes mount.
 */
import { ampCapabilities, createAmpCodec } from './amp.ts';
import { claudeCapabilities, createClaudeCodec } from './claude.ts';
import type { Codec, HarnessCapabilities } from './codec.ts';
import { codexCapabilities, createCodexCodec } from './codex.ts';
import { createDemoCodec, demoCapabilities } from './demo.ts';
import { ampLauncher, claudeLauncher, codexLauncher, demoLauncher, piLauncher, type Launcher } from './launch.ts';
import { createPiCodec, piCapabilities } from './pi.ts';

export interface Harness {
  createCodec(): Codec;
  readonly capabilities: HarnessCapabilities;
  readonly launch: Launcher;
}

export const harnesses = {
  demo: { createCodec: createDemoCodec, capabilities: demoCapabilities, launch: demoLauncher },
  claude: { createCodec: () => createClaudeCodec(), capabilities: claudeCapabilities, launch: claudeLauncher },
  codex: { createCodec: createCodexCodec, capabilities: codexCapabilities, launch: codexLauncher },
  pi: { createCodec: createPiCodec, capabilities: piCapabilities, launch: piLauncher },
  amp: { createCodec: createAmpCodec, capabilities: ampCapabilities, launch: ampLauncher },
} satisfies Record<string, Harness>;

export type HarnessKind = keyof typeof harnesses;

export const HARNESS_KINDS = Object.keys(harnesses) as readonly HarnessKind[];

export { capToolResult, coalesceDeltas, type CappedResult } from './coalesce.ts';
export type { ApprovalAnswer, Codec, CodecOutput, HarnessCapabilities, OpenOptions, TurnInput } from './codec.ts';
export { readDemoProgram } from './demo/source.ts';
export type { BlockSource, ContentBlock, ErrorClass, HarnessEvent, HarnessEventType, TurnStatus, Usage } from './events.ts';
export type { Launcher, LaunchFile, LaunchOptions, LaunchSpec, SkillPlace, Upstream } from './launch.ts';
export { createLineSplitter, type Line, type LineSplitter } from './lines.ts';
