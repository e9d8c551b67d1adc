/**
 * The type a value has after it went through JSON, which is what a step returns: on its first run and on every
 * replay alike. `Date` becomes `string`, `undefined` becomes `null` (and is dropped from objects).
 */
export type Jsonify<T> = unknown extends T
  ? T
  : T extends { toJSON(): infer J }
    ? Jsonify<J>
    : T extends string | number | boolean | null
      ? T
      : T extends undefined | void
        ? null
        : T extends bigint | symbol | ((...args: never[]) => unknown)
          ? never
          : T extends readonly unknown[]
            ? { -readonly [K in keyof T]: Jsonify<T[K]> }
            : T extends object
              ? { [K in keyof T as K extends symbol ? never : K]: JsonifyMember<T[K]> }
              : never;

type JsonifyMember<T> = undefined extends T ? Jsonify<Exclude<T, undefined>> | undefined : Jsonify<T>;
