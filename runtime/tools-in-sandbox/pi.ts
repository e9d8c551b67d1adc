/**
 * An extension for pi, which has no MCP: the platform's tools as tools of pi. It is loaded from the folder that `program.ts` is in,
 * as plain JavaScript.
 */
import type { AgentTool } from './platform.ts';

/** What is used of pi's interface. */
interface Pi {
  registerTool(tool: {
    readonly name: string;
    readonly label: string;
    readonly description: string;
    readonly parameters: unknown;
    execute(
      id: string,
      args: Readonly<Record<string, unknown>>,
      signal?: AbortSignal,
    ): Promise<{ content: readonly object[]; details: object }>;
  }): void;
}

export default async function register(pi: Pi): Promise<void> {
  const program: string = new URL('tools.mjs', import.meta.url).href;
  const { connectTools } = (await import(program)) as typeof import('./platform.ts');
  let tools: AgentTool[];
  try {
    tools = await connectTools();
  } catch (error) {
    // pi without them is of more use than no pi; its standard output is its protocol
    console.error(`The tools of the platform are not there: ${(error as Error).message}`);
    return;
  }
  for (const { name, description, inputSchema, call } of tools) {
    pi.registerTool({
      // as Claude Code calls a tool of an MCP server
      name: `mcp__centaur__${name}`,
      label: name,
      description,
      parameters: inputSchema,
      async execute(_id, args, signal) {
        const { content, isError } = await call(args, signal);
        // pi knows no other way to say that it failed
        if (isError)
          throw new Error(content.map((block) => (block.type === 'text' ? String(block.text) : JSON.stringify(block))).join('\n'));
        return { content, details: {} };
      },
    });
  }
}
