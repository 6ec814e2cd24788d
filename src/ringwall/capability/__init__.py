"""What an agent was given: registered tools, schemas, typed resources."""
