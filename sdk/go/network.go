package msb

import (
	"path/filepath"
	"strings"
)

// Network is the network of a sandbox.
type Network struct {
	// Default is allow or deny for connections that no rule matches. Without it, the public internet is allowed.
	Default string
	// Rules are rules such as allow@api.example.org, deny@10.0.0.0/8 or allow:tcp:443@*.example.org.
	Rules []string
	// IPv4Pool and IPv6Pool are the networks that the addresses of the sandbox are taken from.
	IPv4Pool string
	IPv6Pool string
	// DNS are the name servers that are asked for names that the rules allow, such as 1.1.1.1. Without it, the host's are.
	DNS []string
	// DNSSearch are the domains in which the guest looks up names without a dot.
	DNSSearch []string
	// Proxy is a proxy for its TCP connections: http://HOST:PORT or socks5://HOST:PORT.
	Proxy string
	// ProxyPassword says where the password of the proxy's user is read: env=NAME, file=PATH or keyring=SERVICE.
	ProxyPassword string
	// TLSIntercept intercepts TLS even without a secret.
	TLSIntercept bool
	// TLSBypass are hosts whose connections are not intercepted.
	TLSBypass []string
	// TLSCA are files with CAs of servers that this host does not trust.
	TLSCA []string
}

// NoNetwork returns a network without any connections.
func NoNetwork() *Network { return &Network{Default: "deny"} }

// AllowNetwork returns a network with all connections, private networks included.
func AllowNetwork() *Network { return &Network{Default: "allow"} }

// OnlyHosts returns a network with connections to these hosts only: names, "*." and a name, addresses or networks.
func OnlyHosts(hosts ...string) *Network {
	network := NoNetwork()
	for _, host := range hosts {
		network.Rules = append(network.Rules, "allow@"+host)
	}
	return network
}

func (n *Network) add(args *arguments) error {
	if n.Default != "" && n.Default != "allow" && n.Default != "deny" {
		return invalid("the default of a network is allow or deny, not %q", n.Default)
	}
	args.text("net-default", n.Default)
	for _, rule := range n.Rules {
		if rule == "" {
			return invalid("a rule of the network is empty")
		}
		args.text("net-rule", rule)
	}
	args.text("net-ipv4-pool", n.IPv4Pool)
	args.text("net-ipv6-pool", n.IPv6Pool)
	for _, server := range n.DNS {
		args.text("dns", server)
	}
	for _, domain := range n.DNSSearch {
		args.text("dns-search", domain)
	}
	args.text("net-proxy", n.Proxy)
	args.text("net-proxy-password", n.ProxyPassword)
	for _, host := range n.TLSBypass {
		args.text("tls-bypass", host)
	}
	for _, file := range n.TLSCA {
		path, err := filepath.Abs(file)
		if err != nil {
			return invalid("the file %s has no absolute path: %v", file, err)
		}
		args.text("tls-ca", path)
	}
	if n.TLSIntercept {
		*args = append(*args, "--tls-intercept")
	}
	return nil
}

// Secret is a value that a sandbox can use but not see: it sees a placeholder, which is replaced in requests to some
// hosts only.
type Secret struct {
	// Name is the variable in the sandbox.
	Name string
	// Hosts may receive the value, such as api.example.org or *.example.org.
	Hosts []string
	// Value is the value; by default that of the variable of this name in the environment of this program. It is passed
	// in the environment of msb, never on its command line. To start the sandbox again from another program, give msb the
	// variable MSB_SDK_SECRET_ followed by the name, by WithEnviron.
	Value string
	// Inject says where it is replaced, such as headers and query; in headers by default.
	Inject []string
	// Placeholder is the placeholder; a random one by default.
	Placeholder string
	// OnViolation is what happens when it is sent elsewhere: block, block-and-log (the default), block-and-terminate or
	// passthrough.
	OnViolation string
	// PassthroughHosts receive the placeholder unchanged.
	PassthroughHosts []string
	// RequireTLS says whether it is replaced in TLS connections only; nil is the default of msb.
	RequireTLS *bool
}

// argument returns the value of --secret, and adds the value of the secret to the variables.
func (s Secret) argument(variables map[string]string) (string, error) {
	switch s.OnViolation {
	case "", "block", "block-and-log", "block-and-terminate", "passthrough":
	default:
		return "", invalid("%q is not an action for a violation", s.OnViolation)
	}
	if s.Name == "" || strings.ContainsAny(s.Name, "=@") || len(s.Hosts) == 0 {
		return "", invalid("a secret needs a name and at least one host")
	}
	var words []string
	add := func(has bool, word string) {
		if has {
			words = append(words, word)
		}
	}
	if s.Value != "" {
		variable := "MSB_SDK_SECRET_" + s.Name
		variables[variable] = s.Value
		words = append(words, "env="+variable)
	}
	add(len(s.Inject) > 0, "inject="+strings.Join(s.Inject, "+"))
	add(s.Placeholder != "", "placeholder="+s.Placeholder)
	add(s.OnViolation != "", "on-violation="+s.OnViolation)
	add(len(s.PassthroughHosts) > 0, "passthrough-hosts="+strings.Join(s.PassthroughHosts, "+"))
	if s.RequireTLS != nil {
		add(*s.RequireTLS, "require-tls=true")
		add(!*s.RequireTLS, "require-tls=false")
	}
	text := s.Name + "@" + strings.Join(s.Hosts, ",")
	if len(words) > 0 {
		text += ":" + strings.Join(words, ",")
	}
	return text, nil
}
