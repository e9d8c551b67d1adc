/**
 * The type a value has after it went through JSON, which is what a step returns: on its first run and on every
 * replay alike. `Date` becomes `string`; `undefined` becomes `null`, and disappears from objects. What JSON cannot
 * carry (`bigint`, functions, `Map`, bytes …) becomes `never`, so that using it does not compile.
 */
export type Jsonify<T> = unknown extends T
  ? T
  : T extends { toJSON(): infer J }
    ? Jsonify<J>
    : T extends string | number | boolean | null
      ? T
      : T extends undefined | void
        ? null
        : T extends NotJson
          ? never
          : T extends readonly unknown[]
            ? { -readonly [K in keyof T]: Jsonify<T[K]> }
            : T extends object
              ? JsonObject<T>
              : never;

/** What JSON refuses or empties. */
type NotJson =
  | bigint
  | symbol
  | ((...args: never[]) => unknown)
  | ReadonlyMap<unknown, unknown>
  | ReadonlySet<unknown>
  | ArrayBufferLike
  | ArrayBufferView
  | PromiseLike<unknown>;

type JsonObject<T> = {
  // An optional member stays optional and nothing more; a required one that may be undefined may be missing afterwards
  [K in keyof T as JsonKey<K, T[K]>]: {} extends Pick<T, K> ? Jsonify<Exclude<T[K], undefined>> : JsonMember<T[K]>;
};

/** Symbol keys and methods are not part of an object's JSON. */
type JsonKey<K, V> = K extends symbol ? never : V extends (...args: never[]) => unknown ? never : K;

type JsonMember<T> = unknown extends T ? T : undefined extends T ? Jsonify<Exclude<T, undefined>> | undefined : Jsonify<T>;
