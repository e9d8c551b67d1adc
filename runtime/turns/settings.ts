/** How each harness reaches its model: which secret stands for its key, and where the model is. */
import type { HarnessKind } from '../harness/index.ts';

export interface HarnessSetting {
  /** Name of the secret; its placeholder goes into the harness's environment. */
  readonly secret: string;
  /** A gateway instead of the vendor's own address, without the version. */
  readonly baseUrl?: string;
  readonly model?: string;
  /** Whether it asks before it runs a tool; the policy answers. */
  readonly approvals?: 'ask' | 'none';
  /** For pi, which speaks several. */
  readonly api?: 'anthropic-messages' | 'openai-responses' | 'openai-completions';
}

export const DEFAULT_SETTINGS: Readonly<Record<HarnessKind, HarnessSetting>> = {
  claude: { secret: 'ANTHROPIC_API_KEY' },
  codex: { secret: 'OPENAI_API_KEY' },
  pi: { secret: 'ANTHROPIC_API_KEY' },
  amp: { secret: 'AMP_API_KEY' },
  demo: { secret: 'ANTHROPIC_API_KEY' },
};
