{
  "username": "hume",
  "attachments": [
    {
      "fallback": {{ (title ~ ": " ~ text if about == "event" else text) | one_line | truncate(500) | json }},
      "color": {{ level | color | json }},
      "title": {{ ((level | emoji) ~ " " ~ title) | one_line | truncate(300) | json }},
      {#- As code: nothing in it calls people or becomes a picture. #}
      "text": {{ ("```\n" ~ (body | replace("```", "'''") | truncate(6000)) ~ "\n```") | json }},
      "fields": [
        {%- for fact in facts %}
        {"short": true, "title": {{ fact.name | json }}, "value": {{ fact.value | truncate(300) | json }}},
        {%- endfor %}
        {"short": false, "title": "event", "value": {{ event.id | json }}}
      ]
    }
  ]
}
