/** Its input is checked, by a schema as any library's is: no package is needed for it. */
import { type StandardSchemaV1, defineWorkflow } from '@centaur/sdk';

interface Input {
  readonly channel: string;
  readonly options: { readonly limit: number };
}

const schema: StandardSchemaV1<unknown, Input> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate(value: unknown) {
      const { channel, options } = (value ?? {}) as Partial<Input>;
      const issues = [
        ...(typeof channel === 'string' ? [] : [{ path: ['channel'], message: 'expected a string' }]),
        ...(typeof options?.limit === 'number' ? [] : [{ path: ['options', 'limit'], message: 'expected a number' }]),
      ];
      return issues.length > 0 ? { issues } : { value: { channel, options } as Input };
    },
  },
};

export default defineWorkflow({
  name: 'checked',
  input: schema,
  concurrencyKey: ({ channel }) => channel,
  handler: ({ channel, options }) => `${channel} ${options.limit}`,
});
