// Foreign servers as the next hop behind the Edge: each passes what it understood on to the recorder. They run in folders of their own,
// as long as a test needs them.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/lib/clock.ts';
import { freePort } from '../../src/sys/ports-fixture.ts';
import type { Requirement } from '../requirements.ts';
import { understood } from './message.ts';
import type { Understood } from './message.ts';

export interface ForeignServer {
  readonly port: number;
  stop(): Promise<void>;
}

export interface ServerKind {
  readonly name: Requirement;
  /** What arrives behind this server instead of what we understood, by the name of the message; never another number of requests. */
  readonly changes?: Readonly<Record<string, readonly Understood[]>>;
  /** Messages of which it refuses something that we let through. */
  readonly refuses?: readonly string[];
  /**
   * It passes a chunked request on as whole although its connection was reset in the middle. Nothing that stands before it can help
   * that: it has got the head, and a reset is all that HTTP/1.1 has to take it back.
   */
  readonly completesBroken?: true;
  /** Files of the folder by name, and how the program starts on it. */
  readonly setUp: (
    folder: string,
    port: number,
    next: number,
  ) => { readonly files: Readonly<Record<string, string>>; readonly argv: readonly string[] };
}

const START_MS = 15_000;

export const SERVERS: readonly ServerKind[] = [
  {
    name: 'nginx',
    refuses: ['OPTIONS *'],
    setUp: (folder, port, next) => ({
      files: {
        'nginx.conf': `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 512; }
http { access_log off; large_client_header_buffers 8 64k; client_max_body_size 10m;
client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${next}; proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection ""; } } }`,
      },
      argv: ['nginx', '-c', `${folder}/nginx.conf`, '-p', folder],
    }),
  },
  {
    name: 'haproxy',
    setUp: (folder, port, next) => ({
      files: {
        'haproxy.cfg': `global
  tune.bufsize 65536
  tune.http.maxhdr 256
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend f
  bind 127.0.0.1:${port}
  default_backend b
backend b
  server s 127.0.0.1:${next}
`,
      },
      argv: ['haproxy', '-db', '-f', `${folder}/haproxy.cfg`],
    }),
  },
  {
    name: 'caddy',
    // It answers itself.
    changes: { 'OPTIONS *': [] },
    setUp: (folder, port, next) => ({
      files: {
        Caddyfile: `{
  admin off
  auto_https off
  storage file_system ${folder}/storage
}
http://:${port} {
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:${next}
}
`,
      },
      argv: ['caddy', 'run', '--config', `${folder}/Caddyfile`, '--adapter', 'caddyfile'],
    }),
  },
  {
    name: 'varnishd',
    // It takes the body of a GET off, and knows no trailers.
    changes: {
      'a GET with a body': [understood('GET', '/get')],
      'an upgrade with a body is no upgrade': [understood('GET', '/a')],
    },
    refuses: ['a trailer'],
    completesBroken: true,
    setUp: (folder, port, next) => ({
      files: {
        'default.vcl': `vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "${next}"; }
sub vcl_recv { return (pass); }
`,
      },
      argv: [
        'varnishd',
        '-F',
        '-n',
        `${folder}/work`,
        '-a',
        `127.0.0.1:${port}`,
        '-f',
        `${folder}/default.vcl`,
        '-s',
        'malloc,32m',
        '-j',
        'none',
        '-p',
        'http_req_hdr_len=64k',
        '-p',
        'http_req_size=128k',
        '-p',
        'http_max_hdr=256',
        '-p',
        'workspace_client=512k',
      ],
    }),
  },
  {
    name: 'lighttpd',
    // It decodes unreserved characters in a query, and a slash in a path: the Edge has seen to it that this leads to no other Route. It
    // answers OPTIONS * itself.
    changes: {
      'the path /a?b=%2e%2e%2f': [understood('GET', '/a?b=..%2F')],
      'the path /@scope%2fname': [understood('GET', '/@scope/name')],
      'OPTIONS *': [],
    },
    refuses: ['a GET with a body', 'an upgrade with a body is no upgrade', 'the path /%ff'],
    setUp: (folder, port, next) => ({
      files: {
        'lighttpd.conf': `server.document-root = "${folder}"
server.bind = "127.0.0.1"
server.port = ${port}
server.errorlog = "${folder}/error.log"
server.modules = ( "mod_proxy" )
server.max-request-field-size = 65536
proxy.server = ( "" => ( ( "host" => "127.0.0.1", "port" => ${next} ) ) )
`,
      },
      argv: ['lighttpd', '-D', '-f', `${folder}/lighttpd.conf`],
    }),
  },
  {
    name: 'apache2',
    // It answers itself.
    changes: { 'OPTIONS *': [] },
    setUp: (folder, port, next) => ({
      files: {
        'apache.conf': `ServerRoot ${folder}
ServerName localhost
PidFile ${folder}/pid
Listen 127.0.0.1:${port}
ErrorLog ${folder}/error.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LimitRequestFieldSize 65536
LimitRequestFields 256
LimitRequestLine 65536
AllowEncodedSlashes NoDecode
MergeSlashes Off
ProxyPreserveHost On
ProxyPass / http://127.0.0.1:${next}/ nocanon
`,
      },
      argv: ['apache2', '-D', 'FOREGROUND', '-f', `${folder}/apache.conf`],
    }),
  },
  {
    name: 'squid',
    refuses: ['a GET with a body', 'an upgrade with a body is no upgrade', 'OPTIONS *'],
    setUp: (folder, port, next) => ({
      files: {
        'squid.conf': `http_port 127.0.0.1:${port} accel vhost allow-direct
cache_peer 127.0.0.1 parent ${next} 0 no-query originserver no-digest name=next
cache_peer_access next allow all
http_access allow all
never_direct allow all
cache deny all
cache_log ${folder}/cache.log
access_log none
pid_filename ${folder}/pid
coredump_dir ${folder}
strip_query_terms off
uri_whitespace deny
pinger_enable off
netdb_filename none
shutdown_lifetime 1 seconds
`,
      },
      argv: ['squid', '-N', '-f', `${folder}/squid.conf`],
    }),
  },
];

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Starts one in front of the port `next`; resolves when it listens. */
export async function startServer(kind: ServerKind, next: number): Promise<ForeignServer> {
  const folder = await mkdtemp(join(tmpdir(), `libra-${kind.name}-`));
  // Some give their rights up before they write here.
  await chmod(folder, 0o777);
  const port = await freePort();
  const { files, argv } = kind.setUp(folder, port, next);
  await mkdir(join(folder, 'work'), { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const [command = '', ...words] = argv;
  const child: ChildProcess = spawn(command, words, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: '/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin', HOME: folder },
  });
  let output = '';
  const keep = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-4_000));
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  const ended = once(child, 'exit');
  const endMs = systemClock.monotonic() + START_MS;
  while (!(await answers(port))) {
    if (child.exitCode !== null || systemClock.monotonic() > endMs) {
      child.kill('SIGKILL');
      throw new Error(`${kind.name} does not start: ${output}`);
    }
    await systemClock.sleep(50);
  }
  return {
    port,
    stop: async () => {
      child.kill('SIGTERM');
      const cancel = systemClock.timer(3_000, () => child.kill('SIGKILL'));
      await ended;
      cancel();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
