/** What skills and personas are, and where they come from. */
import type { TurnInput } from '../harness/codec.ts';
import type { HarnessKind } from '../harness/index.ts';

export interface Skill {
  /** Of its folder: lower case letters, digits, and - between them. */
  readonly name: string;
  /** What it does and when it is of use: all that an agent knows of it before it reads on. */
  readonly description: string;
  readonly license: string | undefined;
  readonly compatibility: string | undefined;
  /** What the skill would have pre-approved, where a harness asks. The policy decides all the same. */
  readonly allowedTools: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Its folder on this machine. */
  readonly source: string;
  /** All of them, SKILL.md too, by path. */
  readonly files: readonly SkillFile[];
  readonly bytes: number;
  /** Names the content: 16 hex digits. */
  readonly version: string;
}

export interface SkillFile {
  /** Relative to the skill's folder. */
  readonly path: string;
  readonly data: Buffer;
  readonly executable: boolean;
}

export interface Persona {
  readonly name: string;
  readonly description: string | undefined;
  readonly prompt: string;
  readonly harness: HarnessKind | undefined;
  readonly model: string | undefined;
  readonly effort: TurnInput['effort'] | undefined;
  /** Names of the only tools that it may call; undefined: all. */
  readonly tools: readonly string[] | undefined;
  /** Names of the only skills that it gets; undefined: all. */
  readonly skills: readonly string[] | undefined;
  /** Its file on this machine. */
  readonly source: string;
  /** SHA-256 of the file, in hex. */
  readonly sha256: string;
}

/** A text for the system prompt of every agent. */
export interface PromptText {
  /** What brings it, for whoever shows it. */
  readonly layer: string;
  readonly text: string;
}

/** What there is, as things are now: of several with one name, the one that counts. */
export interface SkillSource {
  skills(): readonly Skill[];
  personas(): readonly Persona[];
  /** In the order in which agents are told. */
  systemPrompt(): readonly PromptText[];
}

/** What is wrong with a file; it is left out. */
export interface SkillProblem {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
  readonly message: string;
}
