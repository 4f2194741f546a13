// Every setting of the program: its flag, variable, default and help text, in one table that help and reference are made from.
// The only reader of the process environment.

import { acmeDirectory, resolvers } from './model/acme-settings.ts';
import { dockerEngine, dockerImages, dockerSubnets, driverNames } from './model/docker-settings.ts';
import {
  amount,
  argv,
  count,
  email,
  grace,
  host,
  label,
  logTargets,
  oneOf,
  path,
  port,
  ranges,
  keptFor,
  seconds,
  storeUrl,
} from './model/setting-values.ts';

interface Setting<T> {
  /** Flag of `libra up`, without dashes; null where only the variable exists. */
  readonly flag: string | null;
  readonly variable: string;
  /** It may hold a key: never put on a command line by us. */
  readonly isPrivate?: boolean;
  /** Placeholder in the help text. */
  readonly placeholder: string;
  readonly help: string;
  /** For people: what holds when nothing is given. */
  readonly defaultText: string;
  /** Throws a Failure when the text is not valid. */
  readonly parse: (text: string, source: string) => T;
}

export const SETTINGS = {
  data: {
    flag: 'data',
    variable: 'LIBRA_DATA',
    placeholder: 'folder',
    help: 'where all state lives',
    defaultText: '~/.libra (as root /var/lib/libra)',
    parse: path,
  },
  apiHost: {
    flag: 'api-host',
    variable: 'LIBRA_API_HOST',
    placeholder: 'address',
    help: 'address of the API; only loopback is allowed without TLS',
    defaultText: '127.0.0.1',
    parse: host,
  },
  apiPort: { flag: 'api-port', variable: 'LIBRA_API_PORT', placeholder: 'port', help: 'port of the API', defaultText: '7400', parse: port },
  apiTlsHost: {
    flag: 'api-tls-host',
    variable: 'LIBRA_API_TLS_HOST',
    placeholder: 'address',
    help: 'address at which other machines, and people elsewhere, reach the API over TLS',
    defaultText: 'none: this machine only',
    parse: host,
  },
  apiTlsPort: {
    flag: 'api-tls-port',
    variable: 'LIBRA_API_TLS_PORT',
    placeholder: 'port',
    help: 'port of the API over TLS',
    defaultText: '7401',
    parse: port,
  },
  nodeAddress: {
    flag: 'node-address',
    variable: 'LIBRA_NODE_ADDRESS',
    placeholder: 'address',
    help: 'address of this machine at which Edges on others reach its Instances',
    defaultText: 'that of --api-tls-host; on a machine that joined, the one that it goes to the platform from',
    parse: host,
  },
  dataPort: {
    flag: 'data-port',
    variable: 'LIBRA_DATA_PORT',
    placeholder: 'port',
    help: 'port at which Edges on other machines reach Instances, where there are others',
    defaultText: '7402',
    parse: port,
  },
  trustedNetwork: {
    flag: 'trusted-network',
    variable: 'LIBRA_TRUSTED_NETWORK',
    placeholder: 'ranges',
    help: 'networks that your machines alone are in: Instances listen there, and Edges on others reach them without a data port',
    defaultText: 'none',
    parse: ranges,
  },
  edgeHost: {
    flag: 'edge-host',
    variable: 'LIBRA_EDGE_HOST',
    placeholder: 'address',
    help: 'address of the Edge',
    defaultText: '127.0.0.1',
    parse: host,
  },
  edgePort: {
    flag: 'edge-port',
    variable: 'LIBRA_EDGE_PORT',
    placeholder: 'port',
    help: 'HTTP port of the Edge',
    defaultText: '8080',
    parse: port,
  },
  edgeWorkers: {
    flag: 'edge-workers',
    variable: 'LIBRA_EDGE_WORKERS',
    placeholder: 'count',
    help: 'processes that share the port of the Edge; one uses one core',
    defaultText: '1',
    parse: count,
  },
  edgeTrusted: {
    flag: 'edge-trusted',
    variable: 'LIBRA_EDGE_TRUSTED',
    placeholder: 'ranges',
    help: 'proxies in front of the Edge whose X-Forwarded-* and Forwarded are believed',
    defaultText: 'none',
    parse: ranges,
  },
  edgeProxied: {
    flag: 'edge-proxy-protocol',
    variable: 'LIBRA_EDGE_PROXY_PROTOCOL',
    placeholder: 'ranges',
    help: 'balancers whose connections to the Edge begin with a PROXY protocol header',
    defaultText: 'none',
    parse: ranges,
  },
  edgeTlsPort: {
    flag: 'edge-tls-port',
    variable: 'LIBRA_EDGE_TLS_PORT',
    placeholder: 'port',
    help: 'HTTPS port of the Edge',
    defaultText: '8443',
    parse: port,
  },
  apiproxyPort: {
    flag: 'apiproxy-port',
    variable: 'LIBRA_APIPROXY_PORT',
    placeholder: 'port',
    help: 'port on loopback at which Apps of this machine reach Services',
    defaultText: '7480',
    parse: port,
  },
  edgeH2c: {
    flag: 'edge-h2c',
    variable: 'LIBRA_EDGE_H2C',
    placeholder: 'on|off',
    help: 'whether the HTTP port takes HTTP/2 from clients that begin with it',
    defaultText: 'off',
    parse: oneOf('on', 'off'),
  },
  edgeApi: {
    flag: 'edge-api',
    variable: 'LIBRA_EDGE_API',
    placeholder: 'on|off',
    help: 'whether the API is reached through the Edge as libra.<domain>, with its own authorisation',
    defaultText: 'on',
    parse: oneOf('on', 'off'),
  },
  acme: {
    flag: 'acme',
    variable: 'LIBRA_ACME',
    placeholder: 'authority',
    help: 'who issues certificates for hosts on the internet: letsencrypt, letsencrypt-staging, the URL of an ACME directory, or off for the own authority',
    defaultText: 'off',
    parse: acmeDirectory,
  },
  acmeEmail: {
    flag: 'acme-email',
    variable: 'LIBRA_ACME_EMAIL',
    placeholder: 'address',
    help: 'whom the ACME authority may write to',
    defaultText: 'none',
    parse: email,
  },
  acmeDnsHook: {
    flag: 'acme-dns-hook',
    variable: 'LIBRA_ACME_DNS_HOOK',
    placeholder: 'command',
    help: 'proves hosts by DNS, wildcards too: called with "set" or "remove", the name of a TXT record and its value',
    defaultText: 'none: hosts are proven by http',
    parse: argv,
  },
  acmeResolvers: {
    flag: 'acme-resolvers',
    variable: 'LIBRA_ACME_RESOLVERS',
    placeholder: 'addresses',
    help: 'DNS servers that are asked where a host leads before it is ordered, separated by commas, such as 1.1.1.1,10.0.0.2:5353',
    defaultText: 'those of the machine',
    parse: resolvers,
  },
  domain: {
    flag: 'domain',
    variable: 'LIBRA_DOMAIN',
    placeholder: 'name',
    help: 'base domain of Apps',
    defaultText: 'localhost',
    parse: label,
  },
  nodeName: {
    flag: 'node-name',
    variable: 'LIBRA_NODE_NAME',
    placeholder: 'name',
    help: 'name of this Node',
    defaultText: "the machine's host name",
    parse: label,
  },
  store: {
    flag: 'store',
    variable: 'LIBRA_STORE',
    placeholder: 'engine',
    help: 'sqlite; memory for a platform that forgets; or an etcd cluster: etcd://host:port,host:port/name, etcds:// with TLS',
    defaultText: 'sqlite',
    parse: storeUrl,
  },
  storeTls: {
    flag: 'store-tls',
    variable: 'LIBRA_STORE_TLS',
    placeholder: 'folder',
    help: 'for etcds://: folder with ca.pem, and cert.pem with key.pem where the cluster asks for a certificate',
    defaultText: "the machine's authorities",
    parse: path,
  },
  storeLogin: {
    flag: 'store-login',
    variable: 'LIBRA_STORE_LOGIN',
    placeholder: 'file',
    help: 'file that holds name:password for the etcd cluster',
    defaultText: 'none',
    parse: path,
  },
  drivers: {
    flag: 'drivers',
    variable: 'LIBRA_DRIVERS',
    placeholder: 'names',
    help: 'what new Instances may run by on this Node: process, docker, or both with a comma between them',
    defaultText: 'all that there are',
    parse: driverNames,
  },
  docker: {
    flag: 'docker',
    variable: 'LIBRA_DOCKER',
    placeholder: 'engine',
    help: 'Docker engine that runs images on this Node: auto takes /var/run/docker.sock where it is and may be used; off, unix:///path or tcp://host:port',
    defaultText: 'auto',
    parse: dockerEngine,
  },
  dockerTls: {
    flag: 'docker-tls',
    variable: 'LIBRA_DOCKER_TLS',
    placeholder: 'folder',
    help: 'for tcp://: folder with ca.pem, cert.pem and key.pem',
    defaultText: 'none: tcp on loopback only',
    parse: path,
  },
  dockerLogins: {
    flag: 'docker-logins',
    variable: 'LIBRA_DOCKER_LOGINS',
    placeholder: 'file',
    help: 'file with logins for registries, config.json as docker login writes it',
    defaultText: 'none',
    parse: path,
  },
  dockerSubnets: {
    flag: 'docker-subnets',
    variable: 'LIBRA_DOCKER_SUBNETS',
    placeholder: 'range',
    help: 'range that networks of containers are taken from, one of 256 addresses for each App and Environment',
    defaultText: '10.212.0.0/14',
    parse: dockerSubnets,
  },
  dockerImages: {
    flag: 'docker-images',
    variable: 'LIBRA_DOCKER_IMAGES',
    placeholder: 'high,low',
    help: 'percent of their disk in use at which images that nothing uses are deleted, the longest unused first, and at which that ends; or off',
    defaultText: '85,80',
    parse: dockerImages,
  },
  keepVolumes: {
    flag: 'keep-volumes',
    variable: 'LIBRA_KEEP_VOLUMES',
    placeholder: 'time',
    help: 'how long this Node keeps volumes of Apps and Environments that were deleted, such as 7d or 12h; or forever',
    defaultText: '7d',
    parse: keptFor,
  },
  logForward: {
    flag: 'log-forward',
    variable: 'LIBRA_LOG_FORWARD',
    isPrivate: true,
    placeholder: 'urls',
    help: 'where the output of Instances goes besides: http(s), tcp, udp, syslog, syslog+udp or file URLs; of several, each Instance has one',
    defaultText: 'none',
    parse: logTargets,
  },
  logForwardHeaders: {
    flag: 'log-forward-headers',
    variable: 'LIBRA_LOG_FORWARD_HEADERS',
    placeholder: 'file',
    help: 'file with further headers for http targets, a "Name: value" on each line',
    defaultText: 'none',
    parse: path,
  },
  logLevel: {
    flag: 'log-level',
    variable: 'LIBRA_LOG_LEVEL',
    placeholder: 'level',
    help: 'debug, info, warn or error',
    defaultText: 'info',
    parse: oneOf('debug', 'info', 'warn', 'error'),
  },
  nodeGraceMs: {
    flag: null,
    variable: 'LIBRA_NODE_GRACE',
    placeholder: 'seconds',
    help: 'silence after which a Node is down and what it ran is replaced, at least 10',
    defaultText: '30',
    parse: grace,
  },
  retainEndedMs: {
    flag: null,
    variable: 'LIBRA_RETAIN_ENDED',
    placeholder: 'seconds',
    help: 'how long ended Instances and their logs are kept',
    defaultText: '86400',
    parse: seconds,
  },
  bundleBytes: {
    flag: null,
    variable: 'LIBRA_BUNDLE_BYTES',
    placeholder: 'bytes',
    help: 'largest bundle',
    defaultText: '1073741824',
    parse: amount('bytes'),
  },
  kvKeys: {
    flag: null,
    variable: 'LIBRA_KV_KEYS',
    placeholder: 'number',
    help: 'keys that one Environment may keep in librad.kv',
    defaultText: '10000',
    parse: amount('keys'),
  },
  kvBytes: {
    flag: null,
    variable: 'LIBRA_KV_BYTES',
    placeholder: 'bytes',
    help: 'keys and values that one Environment may keep in librad.kv',
    defaultText: '16777216',
    parse: amount('bytes'),
  },
  url: {
    flag: null,
    variable: 'LIBRA_URL',
    placeholder: 'url',
    help: 'platform that the command line talks to',
    defaultText: 'the local one of LIBRA_DATA',
    parse: path,
  },
  token: {
    flag: null,
    variable: 'LIBRA_TOKEN',
    placeholder: 'token',
    help: 'credential of the command line',
    defaultText: "the local platform's owner token",
    parse: path,
  },
} as const satisfies Readonly<Record<string, Setting<unknown>>>;

export type SettingName = keyof typeof SETTINGS;
type Given = { readonly [K in SettingName]: ReturnType<(typeof SETTINGS)[K]['parse']> | null };

/** What was set, by flag or variable; null where nothing was. */
export interface Settings extends Omit<Given, 'data'> {
  readonly data: string;
  /** The variables that the program was started with, for `cli` decisions about colour and pagers. Not for settings. */
  readonly noColor: boolean;
  readonly home: string;
  readonly path: string;
  readonly isRoot: boolean;
}

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
}

/** The surroundings of this process. */
export function surroundings(): Surroundings {
  return { env: process.env, uid: process.getuid?.() ?? -1 };
}

/** Settings from flags (by flag name) over variables over defaults. Throws `invalid_input` naming the flag or variable. */
export function loadSettings(flags: Readonly<Record<string, string | undefined>>, around: Surroundings): Settings {
  const read = <K extends SettingName>(name: K): Given[K] => {
    const setting: Setting<unknown> = SETTINGS[name];
    const flagged = setting.flag === null ? undefined : flags[setting.flag];
    const [text, source] = flagged === undefined ? [around.env[setting.variable], setting.variable] : [flagged, `--${setting.flag ?? ''}`];
    // The table gives each name its own parser; the compiler cannot follow that through an index.
    return (text === undefined || text === '' ? null : setting.parse(text, source)) as Given[K];
  };
  const home = around.env['HOME'] ?? '/';
  const isRoot = around.uid === 0;
  return {
    data: read('data') ?? (isRoot ? '/var/lib/libra' : `${home}/.libra`),
    apiHost: read('apiHost'),
    apiPort: read('apiPort'),
    apiTlsHost: read('apiTlsHost'),
    apiTlsPort: read('apiTlsPort'),
    nodeAddress: read('nodeAddress'),
    dataPort: read('dataPort'),
    trustedNetwork: read('trustedNetwork'),
    edgeHost: read('edgeHost'),
    edgePort: read('edgePort'),
    edgeWorkers: read('edgeWorkers'),
    edgeTrusted: read('edgeTrusted'),
    edgeProxied: read('edgeProxied'),
    edgeTlsPort: read('edgeTlsPort'),
    apiproxyPort: read('apiproxyPort'),
    edgeH2c: read('edgeH2c'),
    edgeApi: read('edgeApi'),
    acme: read('acme'),
    acmeEmail: read('acmeEmail'),
    acmeDnsHook: read('acmeDnsHook'),
    acmeResolvers: read('acmeResolvers'),
    domain: read('domain'),
    nodeName: read('nodeName'),
    store: read('store'),
    storeTls: read('storeTls'),
    storeLogin: read('storeLogin'),
    drivers: read('drivers'),
    docker: read('docker'),
    dockerTls: read('dockerTls'),
    dockerLogins: read('dockerLogins'),
    dockerSubnets: read('dockerSubnets'),
    dockerImages: read('dockerImages'),
    keepVolumes: read('keepVolumes'),
    logForward: read('logForward'),
    logForwardHeaders: read('logForwardHeaders'),
    logLevel: read('logLevel'),
    nodeGraceMs: read('nodeGraceMs'),
    retainEndedMs: read('retainEndedMs'),
    bundleBytes: read('bundleBytes'),
    kvKeys: read('kvKeys'),
    kvBytes: read('kvBytes'),
    url: read('url'),
    token: read('token'),
    noColor: (around.env['NO_COLOR'] ?? '') !== '',
    home,
    path: around.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin',
    isRoot,
  };
}

/** A setting as its variable says it; null where it was not set. */
export function variableText(settings: Settings, name: SettingName): string | null {
  const value = settings[name];
  if (value === null) return null;
  // Those two are said in seconds.
  return name === 'retainEndedMs' || name === 'nodeGraceMs' ? String(Number(value) / 1000) : String(value);
}
