/** Who is asked: one interface before services that differ in names only. */
import type { ToolContext } from '@centaur/sdk';

export interface Question {
  readonly query: string;
  readonly kind: 'web' | 'news';
  readonly count: number;
  /** Not older. */
  readonly within?: 'day' | 'week' | 'month' | 'year';
  /** Only these. */
  readonly domains?: readonly string[];
}

export interface Hit {
  readonly title: string;
  readonly url: string;
  readonly snippet: string;
  /** As the service writes it: a date, or `2 days ago`. */
  readonly published?: string;
}

export interface Provider {
  readonly name: 'brave' | 'tavily';
  /** Of the vault. */
  readonly secret: string;
  readonly base: string;
  search(ctx: ToolContext, question: Question): Promise<readonly Hit[]>;
}
