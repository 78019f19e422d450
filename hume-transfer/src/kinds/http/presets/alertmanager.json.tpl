[
  {#- What is well ends the alert of every severity, since Alertmanager knows an alert by all of its labels. #}
  {%- for severity in (["unknown", "warning", "error", "critical"] if level == "ok" else [level]) %}
  {
    "labels": {
      "alertname": "HumeTask",
      "task": {{ event.task | json }},
      "host": {{ event.host | json }},
      "severity": {{ severity | json }}
    },
    "annotations": {
      "summary": {{ title | one_line | json }},
      "description": {{ body | truncate(4000) | json }}
    },
    {%- if level == "ok" %}
    "endsAt": {{ event.time | json }}
    {%- else %}
    "startsAt": {{ event.time | json }},
    "endsAt": {{ event.time | later("1d") | json }}
    {%- endif %}
  }{{ "," if not loop.last }}
  {%- endfor %}
]
