{
  "routing_key": {{ token | json }},
  "event_action": {{ ("resolve" if level == "ok" else "trigger") | json }},
  "dedup_key": {{ ("hume:" ~ event.host ~ ":" ~ event.task) | truncate(255) | json }},
  "client": "hume",
  "payload": {
    "summary": {{ (title ~ ": " ~ text if about == "event" else text) | one_line | truncate(500) | json }},
    "source": {{ event.host | json }},
    "severity": {{ {"critical": "critical", "error": "error", "warning": "warning", "unknown": "warning"}[level] | default("info") | json }},
    "timestamp": {{ event.time | json }},
    "component": {{ (event.task or "note") | json }},
    "class": {{ about | json }},
    "custom_details": {
      {%- for fact in facts %}
      {{ fact.name | json }}: {{ fact.value | truncate(1000) | json }},
      {%- endfor %}
      "extra": {{ event.extra | json }}
    }
  }
}
