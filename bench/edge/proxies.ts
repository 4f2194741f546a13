// The peers from Debian, each with one worker, keep-alive to the upstream, an access log in a file and the forwarding headers that every
// proxy sets: what they would do in Libra's place, and not less.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PROXY_CORE, freePorts, startProgram } from './program.ts';
import type { Program } from './program.ts';
import { HOST } from './setting.ts';
import type { Setting } from './setting.ts';

export interface Proxy {
  readonly name: string;
  readonly program: Program;
  readonly plainUrl: string;
  readonly tlsUrl: string;
  readonly plainPort: number;
  /** Over TLS. */
  readonly h2: boolean;
}

export interface Ports {
  readonly plain: number;
  readonly tls: number;
}

/** Connections that a process may have here, both of its sides together. */
export function descriptorLimit(): number {
  const limit = /^Max open files\s+\d+\s+(\d+)/mu.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return limit === undefined ? 1024 : Number(limit);
}

export function folderOf(setting: Setting, name: string): string {
  const folder = join(setting.folder, name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

export function proxyOf(name: string, program: Program, { plain, tls }: Ports): Proxy {
  return { name, program, plainPort: plain, plainUrl: `http://${HOST}:${plain}`, tlsUrl: `https://${HOST}:${tls}`, h2: true };
}

export async function takePorts(): Promise<Ports> {
  const [plain = 0, tls = 0] = await freePorts(2);
  return { plain, tls };
}

export async function startNginx(setting: Setting): Promise<Proxy> {
  const folder = folderOf(setting, 'nginx');
  const ports = await takePorts();
  const config = join(folder, 'nginx.conf');
  const forwarded = `proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Request-Id $request_id;`;
  writeFileSync(
    config,
    `worker_processes 1; worker_rlimit_nofile ${descriptorLimit()}; daemon off; pid ${folder}/nginx.pid; error_log ${folder}/error.log crit;
events { worker_connections ${2 * descriptorLimit()}; }
http {
  access_log ${folder}/access.log combined buffer=64k flush=100ms;
  client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u;
  scgi_temp_path ${folder}/s; keepalive_requests 1000000000; keepalive_timeout 75s;
  upstream app { server 127.0.0.1:${setting.upstreamPort}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${ports.plain} backlog=1024;
    listen 127.0.0.1:${ports.tls} ssl http2 backlog=1024;
    ssl_certificate ${setting.certificate.chainFile}; ssl_certificate_key ${setting.certificate.keyFile};
    proxy_read_timeout 3600s; proxy_buffers 16 8k;
    location / { proxy_pass http://app; ${forwarded} proxy_set_header Connection ""; }
    location /socket {
      proxy_pass http://127.0.0.1:${setting.socketsPort}; ${forwarded}
      proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade;
    }
  }
}
`,
  );
  const program = await startProgram({
    name: 'nginx',
    argv: ['nginx', '-e', join(folder, 'start.log'), '-p', folder, '-c', config],
    core: PROXY_CORE,
    output: join(folder, 'output.log'),
    port: ports.plain,
  });
  return proxyOf('nginx', program, ports);
}

export async function startHaproxy(setting: Setting): Promise<Proxy> {
  const folder = folderOf(setting, 'haproxy');
  const ports = await takePorts();
  const config = join(folder, 'haproxy.cfg');
  writeFileSync(
    config,
    `global
  nbthread 1
  maxconn ${Math.floor((descriptorLimit() - 100) / 2)}
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  option forwardfor
  option http-keep-alive
  http-reuse always
  timeout connect 3s
  timeout client 75s
  timeout server 300s
  timeout tunnel 1h
frontend front
  bind 127.0.0.1:${ports.plain} backlog 1024
  bind 127.0.0.1:${ports.tls} backlog 1024 ssl crt ${setting.certificate.bothFile} alpn h2,http/1.1
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  unique-id-format %[uuid]
  unique-id-header X-Request-Id
  use_backend sockets if { path_beg /socket }
  default_backend app
backend app
  server app 127.0.0.1:${setting.upstreamPort} pool-max-conn 256
backend sockets
  server sockets 127.0.0.1:${setting.socketsPort}
`,
  );
  const program = await startProgram({
    name: 'HAProxy',
    argv: ['haproxy', '-f', config, '-db'],
    core: PROXY_CORE,
    output: join(folder, 'access.log'),
    port: ports.plain,
  });
  return proxyOf('HAProxy', program, ports);
}

export async function startCaddy(setting: Setting): Promise<Proxy> {
  const folder = folderOf(setting, 'caddy');
  const ports = await takePorts();
  const config = join(folder, 'Caddyfile');
  const site = `bind 127.0.0.1
  log {
    output file ${folder}/access.log {
      roll_disabled
    }
  }
  request_header X-Request-Id {http.request.uuid}
  reverse_proxy /socket* 127.0.0.1:${setting.socketsPort}
  reverse_proxy 127.0.0.1:${setting.upstreamPort} {
    transport http {
      keepalive_idle_conns_per_host 256
    }
  }`;
  writeFileSync(
    config,
    `{
  admin off
  auto_https off
  default_sni ${HOST}
}
http://:${ports.plain} {
  ${site}
}
https://${HOST}:${ports.tls} {
  tls ${setting.certificate.chainFile} ${setting.certificate.keyFile}
  ${site}
}
`,
  );
  const program = await startProgram({
    name: 'Caddy',
    argv: ['caddy', 'run', '--adapter', 'caddyfile', '--config', config],
    env: { GOMAXPROCS: '1', HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    core: PROXY_CORE,
    output: join(folder, 'output.log'),
    port: ports.plain,
  });
  return proxyOf('Caddy', program, ports);
}
