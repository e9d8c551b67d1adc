/** One name in the forms that code wants. */
import { UsageError } from '../exit.ts';

export interface Name {
  /** As it was given: `order-status`. */
  readonly given: string;
  /** `order_status`: for workflows, methods, Python. */
  readonly snake: string;
  /** `ORDER_STATUS`: for secrets and the environment. */
  readonly capitals: string;
}

/** What every kind of thing may be called. A skill's name has no underscore, that of a tool or workflow both. */
export function parseName(text: string, form: 'words' | 'hyphens' = 'words'): Name {
  const shape = form === 'words' ? /^[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*$/ : /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/;
  if (!shape.test(text) || text.length > 48)
    throw new UsageError(
      `${JSON.stringify(text)} is no name: expected lower case letters and digits, with ${form === 'words' ? '- or _' : '-'} between them, 48 at most`,
    );
  const snake = text.replaceAll('-', '_');
  return { given: text, snake, capitals: snake.toUpperCase() };
}
