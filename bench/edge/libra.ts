// Libra's data plane as it really runs: the bundled program, as the process that the keeper starts, with its flags, its access log and its
// numbers, serving from a kept table while control is away.

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RouteGroup, RouteRule, RouteTable } from '../../src/api/dataplane.ts';
import type { DataPlaneFile } from '../../src/roles/data-plane-process.ts';
import { programArgv, programEnv, programRoot } from '../../src/roles/program.ts';
import type { FarNode } from './far-node.ts';
import { PROXY_CORE, startProgram } from './program.ts';
import { folderOf, proxyOf, takePorts } from './proxies.ts';
import type { Proxy } from './proxies.ts';
import { HOST } from './setting.ts';
import type { Setting } from './setting.ts';

/** After `buildLibra`. */
export const PROGRAM = join(programRoot, 'dist/program/libra.js');

/** Builds the program anew. Throws what the build said when it fails. */
export function buildLibra(): void {
  const built = spawnSync(process.execPath, [join(programRoot, 'scripts/build.ts')], { encoding: 'utf8', timeout: 120_000 });
  if (built.status !== 0) throw new Error(`The bundle cannot be built: ${built.stderr}`);
}

export function groupOf(id: string, port: number, far: FarNode | null): RouteGroup {
  const target = {
    instanceId: `${id}-1`,
    deploymentId: 'd',
    nodeId: far?.nodeId ?? 'n',
    host: '127.0.0.1',
    port,
    ...(far === null ? {} : { via: far.via, generation: 1 }),
    state: 'active',
    drainUntilMs: null,
  } as const;
  return { id, app: id, environment: 'production', entrypoint: 'web', state: 'serving', targets: [target] };
}

export interface LibraOptions {
  readonly name?: string;
  /** Beside those that every case needs. */
  readonly rules?: readonly RouteRule[];
  /** Runs the upstream; absent: the Edge's own machine does. */
  readonly far?: FarNode;
}

/** After `buildLibra`. */
export async function startLibra(setting: Setting, { name = 'Libra', rules = [], far }: LibraOptions = {}): Promise<Proxy> {
  const folder = folderOf(setting, name.replaceAll(' ', '-'));
  const ports = await takePorts();
  const { chainPem, keyPem } = setting.certificate;
  const table: RouteTable = {
    rules: [{ host: HOST, path: '/', headers: {}, group: 'app' }, { host: HOST, path: '/socket', headers: {}, group: 'sockets' }, ...rules],
    groups: [groupOf('app', setting.upstreamPort, far ?? null), groupOf('sockets', setting.socketsPort, null)],
    certificates: [{ name: HOST, chainPem, keyPem, untilMs: Number.MAX_SAFE_INTEGER }],
  };
  const tableFile = join(folder, 'table.json');
  writeFileSync(tableFile, JSON.stringify({ schema: 1, sequence: 1, table }));
  const file: DataPlaneFile = {
    logFile: join(folder, 'edge.log'),
    options: {
      edgeId: 'bench',
      version: 'bench',
      listen: [
        { host: '127.0.0.1', port: ports.plain },
        { host: '127.0.0.1', port: ports.tls, tls: true },
      ],
      connectionFile: join(folder, 'connection.json'),
      tableFile,
      savesTable: false,
      accessLog: { file: join(folder, 'access.log'), fileBytes: 256 * 1024 * 1024 },
      admin: { socketPath: join(folder, 'admin.sock') },
      drainMs: 500,
      ...far?.edge,
    },
  };
  const optionsFile = join(folder, 'options.json');
  writeFileSync(optionsFile, JSON.stringify(file));
  const [node = '', ...words] = programArgv('data-plane', optionsFile);
  const program = await startProgram({
    name,
    // As programArgv says it, but for the entry: this program is another one.
    argv: [node, ...words.map((word) => (word === process.argv[1] ? PROGRAM : word))],
    env: programEnv(process.env['PATH'] ?? '', folder),
    core: PROXY_CORE,
    output: join(folder, 'output.log'),
    port: ports.plain,
  });
  return proxyOf(name, program, ports);
}
