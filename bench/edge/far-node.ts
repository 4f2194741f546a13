// A second machine for the bench: the same upstream, reached through a data port. It has the core of the load, so that the Edge has its own
// in either case; what it takes is counted beside the Edge's.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import { newId } from '../../src/lib/id.ts';
import type { FarNodeOptions } from './far-node-child.ts';
import { LOAD_CORE, freePorts, startProgram } from './program.ts';
import type { Program } from './program.ts';
import type { Setting } from './setting.ts';

export interface FarNode {
  readonly program: Program;
  readonly nodeId: string;
  readonly via: { readonly host: string; readonly port: number };
  /** Of the machine that may come in. */
  readonly edge: { readonly nodeId: string; readonly identityFile: string };
}

export async function startFarNode(setting: Setting): Promise<FarNode> {
  const authority = makeAuthority();
  const [port = 0] = await freePorts(1);
  const edge = authority.issueMachine(newId());
  const identity = authority.issueMachine(newId(), ['node']);
  const identityFile = join(setting.folder, 'identity.json');
  writeFileSync(identityFile, JSON.stringify(edge));
  const options: FarNodeOptions = { identity, edgeId: edge.nodeId, port, upstreamPort: setting.upstreamPort };
  const program = await startProgram({
    name: 'data port',
    argv: [process.execPath, fileURLToPath(new URL('far-node-child.ts', import.meta.url)), JSON.stringify(options)],
    core: LOAD_CORE,
    output: join(setting.folder, 'far-node.log'),
    port,
  });
  return { program, nodeId: identity.nodeId, via: { host: '127.0.0.1', port }, edge: { nodeId: edge.nodeId, identityFile } };
}

/** Two programs as one. */
export function together(name: string, a: Program, b: Program): Program {
  return {
    name,
    pid: a.pid,
    cpuMs: () => a.cpuMs() + b.cpuMs(),
    pssBytes: () => a.pssBytes() + b.pssBytes(),
    stop: async () => void (await Promise.all([a.stop(), b.stop()])),
  };
}
