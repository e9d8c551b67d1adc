/**
 * The tools of an installation, by name, and their methods, each with its `args` and `result`. It is empty here: the file that
 * `centaur tools types` writes adds them by declaration merging, and `ctx.callTool` is checked against it from then on.
 */
export interface KnownTools {}

/** What a method is given. */
export type ToolArguments<Tool extends keyof KnownTools, Method extends keyof KnownTools[Tool]> = KnownTools[Tool][Method] extends {
  readonly args: infer Args;
}
  ? Args
  : unknown;

/** What a method brings back: what it declares, else `unknown`. */
export type ToolResult<Tool extends keyof KnownTools, Method extends keyof KnownTools[Tool]> = KnownTools[Tool][Method] extends {
  readonly result: infer Result;
}
  ? Result
  : unknown;

/** Behind the method's name: arguments, optional only where leaving them out is valid, and options. */
export type ToolCall<Args, Options> = {} extends Args
  ? readonly [args?: Args, options?: Options]
  : readonly [args: Args, options?: Options];

/** A name that is not among the known tools; of one that is, nothing fits. */
export type UnlistedTool<Tool extends string> = Tool & (Tool extends keyof KnownTools ? never : unknown);
